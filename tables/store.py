"""Keeps pets in a table of immutable rows and a head, so that an event costs a few puts whatever the album's size.

Pure over a mapping: the fold agent passes the Faust table, tests and rebuilds pass a dict. `apply` returns the
records to put, in the order in which they must become durable, and the outputs to send after them. Order of one event:

    image row → segment (when the tail is full) → event row → head → tombstones → outputs

The head is the commit point: rows that no head refers to are never read. What the store must survive is a local state
ahead of the broker's copy: at a pet's first repeated event in a generation, the rows of all its pending events are
put again.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

from schemas.errors import DeadLetter, StopProcess
from schemas.facts import Fact
from tables import rows
from tables.changes import Position
from tables.fold import refuse, step
from tables.mixture import Mixture
from tables.outputs import Output
from tables.pet import Pet
from tables.pet_codec import component_rows, pet_of, state_of
from tables.step import Step

Get = Callable[[bytes], bytes | None]
Record = tuple[bytes, bytes | None]

SEGMENT_EVENTS: Final = 64
SEGMENT_BYTES: Final = 4096
MAX_RECORD_BYTES: Final = 3_900_000
"""Of one record or message, a little below what the topics take: a larger one could never become durable."""


@dataclass
class Applied:
    """What an event needs to become durable: `records` (None deletes) in this order, then `outputs`."""

    records: list[Record] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    repeated: bool = False


@dataclass
class StoredPet:
    """A decoded pet and the bookkeeping of its rows.

    `offsets`: component → offset of its newest row. `version_row`: offset of the row that holds the current snapshot,
    or -1. `generation`: the one in which all its pending rows were last put. `uses`: row → how many components have
    their newest sums there.
    """

    pet: Pet
    offsets: dict[int, int]
    segments: list[int]
    tail: rows.Segment
    delivery: rows.Delivery
    generation: int
    version_row: int
    size: int = 0
    uses: Counter[int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.uses = Counter(self.offsets.values())


class PetStore:
    """Applies facts to the pets of the table behind `get`.

    Keeps decoded pets of one generation in about `max_cached_bytes`; the least recently used goes first.
    """

    def __init__(self, get: Get, max_cached_bytes: int = 256 * 2**20) -> None:
        self.get = get
        self._max_cached_bytes = max_cached_bytes
        self._cached: OrderedDict[str, StoredPet] = OrderedDict()
        self._cached_bytes = 0
        self._generation = -1

    def apply(self, pet_id: str, fact: Fact, at: Position, promoted: str, *, frontier: int, generation: int) -> Applied:
        """Apply the fact at log position `at`.

        `frontier`: offset up to which the broker has acknowledged everything of the partition. `generation`: of the
        consumer group; a new one empties the cache, because another worker may have written since. A fact that cannot
        be folded changes nothing but that its job has failed and is dead-lettered. Raises StopProcess when a row is
        missing.
        """
        if generation != self._generation:
            self._cached.clear()
            self._cached_bytes = 0
            self._generation = generation
        stored = self._load(pet_id)
        if at.offset <= stored.pet.last_offset:
            return self._repeat(stored, at.offset, frontier)
        try:
            result = step(stored.pet, fact, at, promoted, lambda: self._image_rows(stored))
            applied = self._record(stored, result, at.offset, frontier)
            _check_sizes(applied)
        except DeadLetter as error:
            self._cached_bytes -= self._cached.pop(pet_id).size  # it may be half changed: read it again
            stored = self._load(pet_id)
            applied = self._record(stored, refuse(stored.pet, fact, at, str(error)), at.offset, frontier)
        stored.generation = generation
        return applied

    def pet(self, pet_id: str) -> Pet:
        """The decoded pet; an empty one when the table has none."""
        return self._load(pet_id).pet

    def state(self, pet_id: str) -> bytes:
        """The bytes of the part of the head that is a function of the log: equal logs give equal bytes."""
        stored = self._load(pet_id)
        return rows.encode(state_of(stored.pet, stored.offsets, stored.segments, stored.tail))

    def _load(self, pet_id: str) -> StoredPet:
        stored = self._cached.pop(pet_id, None)
        if stored is None:
            stored = self._read(pet_id)
        else:
            self._cached_bytes -= stored.size
        stored.size = stored.pet.memory()
        self._cached_bytes += stored.size
        self._cached[pet_id] = stored
        while self._cached_bytes > self._max_cached_bytes and len(self._cached) > 1:
            self._cached_bytes -= self._cached.popitem(last=False)[1].size
        return stored

    def _read(self, pet_id: str) -> StoredPet:
        raw = self.get(rows.head_key(pet_id))
        if raw is None:
            return StoredPet(Pet(pet_id, Mixture(0)), {}, [], rows.Segment(), rows.Delivery(), -1, -1)
        head = rows.decode_head(raw)
        state = head.state
        pet = pet_of(
            pet_id,
            state,
            lambda offset: rows.decode_event_row(self._need(pet_id, "c", offset)),
            lambda offset: rows.decode_segment(self._need(pet_id, "d", offset)),
        )
        return StoredPet(pet, dict(state.components), state.segments, state.tail, head.delivery, -1, pet.version_offset)

    def _need(self, pet_id: str, kind: str, offset: int) -> bytes:
        key = rows.row_key(pet_id, kind, offset)
        raw = self.get(key)
        if raw is None:
            raise StopProcess(f"row {key.decode()} is referred to but missing: the table is damaged")
        return raw

    def _image_rows(self, stored: StoredPet) -> Iterator[rows.ImageRow]:
        pet_id = stored.pet.pet_id
        segments = [rows.decode_segment(self._need(pet_id, "d", offset)) for offset in stored.segments]
        for segment in [*segments, stored.tail]:
            for offset in segment.rows:
                yield rows.decode_image_row(self._need(pet_id, "i", offset))

    def _record(self, stored: StoredPet, result: Step, offset: int, frontier: int) -> Applied:
        if result.purged:
            return self._record_purge(stored, result, offset, frontier)
        pet_id, delivery, records = stored.pet.pet_id, stored.delivery, list[Record]()
        kinds = "c"
        if result.image_row is not None:
            kinds += "i"
            records.append((rows.row_key(pet_id, "i", offset), rows.encode(result.image_row)))
        if self._extend_tail(stored, result, offset):
            kinds += "d"
            records.append((rows.row_key(pet_id, "d", offset), rows.encode(stored.tail)))
            stored.segments.append(offset)
            stored.tail = rows.Segment()
        records.append((rows.row_key(pet_id, "c", offset), rows.encode(_event_row(stored.pet, result))))
        delivery.pending = [p for p in delivery.pending if p.offset > frontier] + [rows.Pending(offset, kinds)]
        self._supersede(stored, result, offset)
        tombstones = self._collect_garbage(stored, offset, frontier)
        records.append((rows.head_key(pet_id), self._head(stored)))
        records += [(key, None) for key in tombstones]
        return Applied(records, result.outputs)

    def _record_purge(self, stored: StoredPet, result: Step, offset: int, frontier: int) -> Applied:
        """Delete every row behind an empty head. What earlier events have sent needs no repeat: it is erased too."""
        pet_id, standing = stored.pet.pet_id, self._standing(stored, frontier)
        stored.offsets, stored.segments, stored.tail, stored.version_row = {}, [], rows.Segment(), -1
        stored.uses.clear()
        stored.delivery = rows.Delivery([rows.Pending(offset, "pc")], [rows.Garbage(offset, offset)])
        records: list[Record] = [
            (rows.row_key(pet_id, "p", offset), rows.encode(standing)),
            (rows.row_key(pet_id, "c", offset), rows.encode(rows.EventRow([], result.outputs))),
            (rows.head_key(pet_id), self._head(stored)),
        ]
        return Applied(records + _deletions(pet_id, standing), result.outputs)

    def _standing(self, stored: StoredPet, frontier: int) -> rows.PurgeRow:
        """The pet's rows, those that are deleted but perhaps not for good among them."""
        earlier = [p.offset for p in stored.delivery.pending if p.offset > frontier and "p" in p.kinds]
        pet_id, delivery = stored.pet.pet_id, stored.delivery
        segments = [rows.decode_segment(self._need(pet_id, "d", offset)) for offset in stored.segments]
        images = [offset for segment in [*segments, stored.tail] for offset in segment.rows]
        events = {*stored.offsets.values(), stored.version_row} - {-1}
        events |= {garbage.row for garbage in delivery.garbage if garbage.deleted < 0 or garbage.deleted > frontier}
        purged = [rows.decode_purge_row(self._need(pet_id, "p", offset)).rows for offset in earlier]
        return rows.PurgeRow([("i", images), ("d", list(stored.segments)), ("c", sorted(events)), *chain(*purged)])

    @staticmethod
    def _extend_tail(stored: StoredPet, result: Step, offset: int) -> bool:
        """Add the event's ids to the tail; says whether the tail is full and becomes a segment."""
        tail = stored.tail
        if result.folded:
            tail.images.append((result.model, result.folded))
        tail.jobs += result.ended
        if result.image_row is not None:
            tail.rows.append(offset)
        tail.events += 1
        tail.size += sum(map(len, result.folded)) + sum(map(len, result.ended)) + 10
        return tail.events >= SEGMENT_EVENTS or tail.size >= SEGMENT_BYTES

    @staticmethod
    def _supersede(stored: StoredPet, result: Step, offset: int) -> None:
        """Point the touched components to this event's row; rows that nothing points to any more become garbage."""
        offsets, uses = stored.offsets, stored.uses
        groups: Set[int] = stored.pet.groups.keys()
        touched = result.touched
        if stored.pet.rules is not None:
            groups |= {rows.RULES}
            touched = touched | {rows.RULES} if result.decided else touched
        left = {offset, stored.version_row}
        opened = sum(component not in offsets for component in touched)
        gone = [c for c in offsets if c not in groups] if len(offsets) + opened > len(groups) else []
        for component in [*gone, *(c for c in touched if c in offsets)]:
            uses[offsets[component]] -= 1
            left.add(offsets[component])
        for component in gone:
            del offsets[component]
        # In place and rising, so that they stay in order.
        offsets.update(dict.fromkeys(sorted(touched), offset))
        uses[offset] = len(touched)
        stored.version_row = stored.pet.version_offset
        unused = [row for row in sorted(left) if not uses[row]]
        for row in unused:
            del uses[row]
        dropped = [row for row in unused if row not in (-1, stored.version_row)]
        stored.delivery.garbage += [rows.Garbage(row, offset) for row in dropped]

    @staticmethod
    def _collect_garbage(stored: StoredPet, offset: int, frontier: int) -> list[bytes]:
        """Keys to delete now: what was dropped by an event that is durable, so that no repeat needs it."""
        delivery = stored.delivery
        delivery.garbage = [g for g in delivery.garbage if g.deleted < 0 or g.deleted > frontier]
        due = [g for g in delivery.garbage if g.deleted < 0 and g.dropped <= frontier]
        for garbage in due:
            garbage.deleted = offset
        return [rows.row_key(stored.pet.pet_id, "c", garbage.row) for garbage in due]

    @staticmethod
    def _head(stored: StoredPet) -> bytes:
        state = state_of(stored.pet, stored.offsets, stored.segments, stored.tail)
        return rows.encode(rows.Head(state, stored.delivery))

    def _repeat(self, stored: StoredPet, offset: int, frontier: int) -> Applied:
        """An event that the head already holds: make the local state durable again, and send its outputs again."""
        pet_id, delivery = stored.pet.pet_id, stored.delivery
        applied = Applied(repeated=True)
        pending = [p for p in delivery.pending if p.offset > frontier]
        if stored.generation != self._generation:
            stored.generation = self._generation
            for event in pending:
                for kind in (k for k in "pidc" if k in event.kinds):
                    applied.records.append(
                        (rows.row_key(pet_id, kind, event.offset), self._need(pet_id, kind, event.offset))
                    )
            applied.records.append((rows.head_key(pet_id), self._head(stored)))
            for event in (event for event in pending if "p" in event.kinds):
                row = self._need(pet_id, "p", event.offset)
                applied.records += _deletions(pet_id, rows.decode_purge_row(row))
            unsure = [g.row for g in delivery.garbage if g.deleted > frontier]
            applied.records += [(rows.row_key(pet_id, "c", row), None) for row in unsure]
        if any(event.offset == offset for event in pending):
            applied.outputs = rows.decode_event_row(self._need(pet_id, "c", offset)).outputs
        return applied


def _event_row(pet: Pet, result: Step) -> rows.EventRow:
    components = component_rows(pet, result.touched)
    if result.decided and pet.rules is not None:
        return rows.DecidedRow(components, result.outputs, pet.rules)
    return rows.EventRow(components, result.outputs)


def _deletions(pet_id: str, standing: rows.PurgeRow) -> list[Record]:
    return [(rows.row_key(pet_id, kind, row), None) for kind, offsets in standing.rows for row in offsets]


def _check_sizes(applied: Applied) -> None:
    """Raises DeadLetter when a record or message is larger than the broker takes."""
    sizes = [len(row) for _, row in applied.records if row is not None]
    largest = max([*sizes, *(len(output.value) for output in applied.outputs)])
    if largest > MAX_RECORD_BYTES:
        raise DeadLetter(f"needs a record of {largest} bytes, the limit is {MAX_RECORD_BYTES}: the album is too large")
