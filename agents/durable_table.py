"""A Faust table whose changelog records wait for the agent, instead of for Faust's producer buffer.

Faust hands changelog records to a buffer that gives up flushing after 0.1 s without progress and lets the offsets
commit (faust-streaming 0.15.3, `ProducerBuffer.flush`), so a crash loses state that was committed as done. This table
only collects the records of the puts; `agents.delivery` publishes them and waits for the broker's word before it
acknowledges the event.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import faust
from faust.stores.rocksdb import Store
from faust.types import EventT, FutureMessage

from agents.table_files import TableFileOptions
from tables.rows import is_head, supersedes


class DurableTable(faust.Table):
    """Types are bytes to bytes. `take_unpublished` must be called in the same step as the puts, before any await.

    `guards_heads`: whether the keys are those of `tables.rows`, whose heads never go back.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unpublished: list[FutureMessage] = []
        self.guards_heads = False

    def _new_store(self) -> Any:
        store = super()._new_store()
        if isinstance(store, Store):
            store.rocksdb_options = TableFileOptions(**store.options, use_rocksdict=store.use_rocksdict)
        return store

    def send_changelog(
        self,
        partition: int | None,
        key: Any,
        value: Any,
        key_serializer: Any = None,
        value_serializer: Any = None,
    ) -> FutureMessage:
        """Collect the record; see the module."""
        record = self.changelog_topic.as_future_message(
            key=key,
            value=value,
            partition=partition,
            key_serializer=key_serializer or self.key_serializer,
            value_serializer=value_serializer or self.value_serializer,
            callback=self._on_changelog_sent,
            eager_partitioning=True,
        )
        self._unpublished.append(record)
        return record

    def _on_changelog_sent(self, fut: FutureMessage) -> None:
        """Note how far the local store holds the changelog, never past records that it did not write itself.

        Behind a hole another worker has written; the next recovery reads on from before it.
        """
        sent = fut.result()
        held = self.data.persisted_offset(sent.topic_partition)
        if sent.offset <= (-1 if held is None else held) + 1:
            super()._on_changelog_sent(fut)

    def keys_with(self, partition: int, prefix: bytes) -> list[bytes]:
        """The keys of one partition that begin with `prefix`, in order."""
        found = []
        for key in self.data._db_for_partition(partition).keys(from_key=prefix):
            if not key.startswith(prefix):
                break
            found.append(key)
        return found

    def take_unpublished(self) -> list[FutureMessage]:
        """The records collected since the last call, in the order of the puts."""
        records, self._unpublished = self._unpublished, []
        return records

    def apply_changelog_batch(self, batch: Iterable[EventT]) -> None:
        """Recover local state, but never let a head go back: a stale writer's late record loses."""
        kept: list[EventT] = []
        heads: dict[tuple[int, bytes], bytes | None] = {}
        last = {}
        for event in batch:
            message = event.message
            last[message.tp] = message.offset
            if self.guards_heads and is_head(message.key):
                slot = (message.partition, message.key)
                if message.value is not None:
                    old = heads[slot] if slot in heads else self.data._db_for_partition(slot[0]).get(slot[1])
                    if old is not None and not supersedes(old, message.value):
                        continue
                heads[slot] = message.value
            kept.append(event)
        super().apply_changelog_batch(kept)
        for tp, offset in last.items():
            self.data.set_persisted_offset(tp, offset)
