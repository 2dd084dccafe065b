"""Reads what stands in a topic, from the outside. Used by the end-to-end tests' audits."""

from __future__ import annotations

from dataclasses import replace

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from schemas.codec import decode_fact, encode_fact
from schemas.errors import DeadLetter
from schemas.facts import PetPurged
from schemas.pet_keys import Destroyed, PetKey, decode_key
from schemas.sealing import Sealable
from schemas.topics import Topics


class Keys(dict[str, PetKey]):
    """A ring of keys that were read from their topic; one that is lacking leaves its facts sealed."""

    def find(self, key_id: str) -> PetKey:
        """As schemas.pet_keys.KeyRing."""
        gone = Destroyed(purge_id="", last_version=-1, next_cluster=-1)
        return self.get(key_id) or PetKey(key_id=key_id, pet_id="", destroyed=gone)


async def read_log(bootstrap_servers: str, topics: Topics) -> list[ConsumerRecord]:
    """The log's records, with the facts in the clear that can be opened."""
    records = await read_topic(bootstrap_servers, topics.pet_log.name)
    written = await read_topic(bootstrap_servers, topics.pet_keys.name)
    keys = Keys((key.key_id, key) for key in (decode_key(record.value) for record in written))
    return [opened(record, keys) for record in records]


def opened(record: ConsumerRecord, keys: Keys) -> ConsumerRecord:
    """The record, in the clear when its key is there, a purge with its numbers; as it is when it is no fact."""
    try:
        envelope, fact = decode_fact(record.value or b"", keys)
    except DeadLetter:
        return record
    sealed = isinstance(fact, Sealable) and fact.sealed
    if sealed or not (envelope.key_id or isinstance(fact, PetPurged)):
        return record
    clear = encode_fact(fact, event_id=envelope.event_id, time=envelope.time, pet_id=envelope.pet_id)
    return replace(record, value=clear)


async def read_topic(bootstrap_servers: str, topic: str) -> list[ConsumerRecord]:
    """All records of a topic up to its ends at the time of the call, partition by partition."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        await consumer._client.add_topic(topic)
        partitions = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
        # Asked before anything is fetched: the broker would answer only behind a fetch that waits for more to come.
        begins, ends = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
        filled = [partition for partition in partitions if begins[partition] < ends[partition]]
        return await _records(consumer, filled, ends) if filled else []
    finally:
        await consumer.stop()


async def _records(
    consumer: AIOKafkaConsumer, partitions: list[TopicPartition], ends: dict[TopicPartition, int]
) -> list[ConsumerRecord]:
    found: dict[TopicPartition, list[ConsumerRecord]] = {partition: [] for partition in partitions}
    consumer.assign(partitions)
    for partition in partitions:
        while await consumer.position(partition) < ends[partition]:
            for polled, batch in (await consumer.getmany(timeout_ms=500)).items():
                found[polled] += [record for record in batch if record.offset < ends[polled]]
    return [record for records in found.values() for record in records]
