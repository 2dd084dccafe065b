"""A log of three pets, the command on it, and the same folded another way. Used by test_what_if."""

from __future__ import annotations

import dataclasses
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from msgspec.structs import replace
from sklearn.metrics import adjusted_rand_score

from app.policy.overrides import Overrides
from app.whatif.run import Request, run
from app.whatif.work import Replayed, Task, replay
from projections.offsets import LogOffsets
from schemas.codec import decode_fact, encode_fact
from schemas.facts import PolicyChanged, Quality
from schemas.ids import cluster_id
from schemas.pet_keys import NO_KEYS, PetKey
from schemas.topics import PARTITION_FACTS_KEY
from tables.recluster import Album as AlbumRows
from tables.replay import LogReplay
from tables.rows import decode_image_row
from tests.albums import Directions, embedded, image, unit
from tests.integration.generations_rig import TIME, FoldRig, partition_of

PETS = ("pet-0", "pet-1", "pet-2")
PHOTOS = 8
KEY = PetKey(key_id="key-1", pet_id="pet-1", secret=b"k" * 32)
NOBODY = "postgresql://nobody@127.0.0.1:1/none"
"""No command here needs Postgres."""
FIRST_SCENE = 5
SAME = "pet-2"
WHAT_IF = {"merge": 0.75, "min_cluster_size": 4}
"""The second scene is no longer merged with the first, and three photos are no cluster."""


@dataclass
class World:
    """A log with the first facts of `prepare`, and photos of three pets, of which two have two scenes."""

    rig: FoldRig
    photos: Path

    async def command(self, *options: str, ok: int = 0) -> tuple[list[dict[str, Any]], str]:
        """The command's lines of JSON, and stderr."""
        source = f"file://{self.photos}/{{image_id}}.jpg"
        done = await self.rig.command("what-if", "--processes", "1", *options, IMAGE_SOURCE=source)
        assert done.returncode == ok, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()], done.stderr

    async def standing(self) -> tuple[Any, Any, Any]:
        """All that a command could have changed on the broker: topics, where they end, groups."""
        servers, prefix = self.rig.settings.kafka_bootstrap_servers, self.rig.topics.prefix
        admin = AIOKafkaAdminClient(bootstrap_servers=servers)
        await admin.start()
        try:
            names = sorted(name for name in await admin.list_topics() if name.startswith(prefix))
            groups = sorted(await admin.list_consumer_groups())
        finally:
            await admin.close()
        async with LogOffsets(servers) as broker:
            tps = [TopicPartition(name, number) for name in names for number in await broker.partitions(name)]
            return names, groups, await broker.ends(tps)

    async def folded(self, pet: str, **fields: Any) -> dict[str, str]:
        """Photo → cluster (or empty), folded here from the records with every policy replaced, and read off the fold's
        own rows: another way than the command's.
        """
        number = partition_of(pet)
        replay = LogReplay(number, only_pet=pet, keys=_Ring())
        for record in await self.rig.read(self.rig.topics.pet_log.name):
            if record.partition == number:
                replay.feed(record.offset, record.key, _under(record.key, record.value, fields))
        state = replay.store.pet(pet)
        rows = sorted(
            (int(k.rpartition(b"/")[2]), v) for k, v in replay.rows.items() if k.startswith(f"{pet}/i/".encode())
        )
        album = AlbumRows(state.model).read(decode_image_row(row) for _, row in rows)
        numbers = {photo: album.number(photo, state.groups) for photo in album.order}
        return {photo: cluster_id(pet, at) if at >= 0 else "" for photo, at in numbers.items()}


class _Ring:
    def find(self, key_id: str) -> PetKey:
        assert key_id == KEY.key_id
        return KEY


def _under(key: bytes, value: bytes, fields: dict[str, Any]) -> bytes:
    if key != PARTITION_FACTS_KEY.encode():
        return value
    envelope, fact = decode_fact(value, NO_KEYS)
    if isinstance(fact, PolicyChanged):
        fact = PolicyChanged(policy=replace(fact.policy, **fields))
    return encode_fact(fact, event_id=envelope.event_id, time=envelope.time, pet_id=envelope.pet_id)


def facts_of(
    pet: str, first: int = 0, photos: int = PHOTOS, asked: str = TIME, *, sealed: bool = True
) -> list[dict[str, Any]]:
    """One photo a fact. Of two pets the last photos are of another scene than the others; the best is the last one."""
    directions = Directions(int(pet[-1]) + 5)
    one = directions.new()
    other = one if pet == SAME else unit(one + 0.9 * directions.new())
    found = []
    for number in range(first, first + photos):
        vector = directions.near(one if number < FIRST_SCENE else other, 0.4)
        better = Quality(*[0.3 + number * 0.08] * len(Quality.__struct_fields__))
        photo = msgspec.structs.replace(image(f"{pet}-{number}", vector), quality=better)
        fact = embedded([photo], job_id=f"job-{number}", enqueued_at=asked)
        key = KEY if sealed and pet == KEY.pet_id else None
        value = encode_fact(fact, event_id=f"id-{pet}-{number}", time=TIME, pet_id=pet, key=key)
        found.append({"key": pet.encode(), "value": value, "partition": partition_of(pet)})
    return found


def agreement(today: dict[str, str], what_if: dict[str, str]) -> float:
    """As scikit-learn has it; a photo in no cluster is one of its own."""
    sides = [[side[photo] or photo for photo in today] for side in (today, what_if)]
    return float(adjusted_rand_score(*sides))


def left_in(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.suffix != ".jpg"}


def of_step(lines: list[dict[str, Any]], step: str) -> list[dict[str, Any]]:
    return [line for line in lines if line["step"] == step]


async def told_of(world: World, request: Request) -> list[dict[str, Any]]:
    """The lines of a replay in processes of this one."""
    out = io.StringIO()
    await run(world.rig.settings, dataclasses.replace(request, processes=1, as_json=True), out)
    return [json.loads(line) for line in out.getvalue().splitlines()]


async def replayed(world: World, pet: str, **fields: Any) -> Replayed:
    folder = world.rig.folder / f"rows-{len(list(world.rig.folder.iterdir()))}"
    task = Task(world.rig.settings, partition_of(pet), folder, Overrides(fields), frozenset({pet}), shown=1)
    return await replay(task, lambda mark: None)
