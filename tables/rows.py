"""Rows of the pet table: keys and bytes. Pure; used by tables.store.

    {pet}/i/{offset}   images of one event: vectors and where each was put          never rewritten
    {pet}/d/{offset}   ids of images and jobs done with, a segment of the album     never rewritten
    {pet}/c/{offset}   components that an event touched, and its outputs            never rewritten, dropped once
    superseded
    {pet}/p/{offset}   which rows a purge has to delete                             never rewritten
    {pet}/h            the head: counters, and where the newest row of each component stands; the commit point
    /partition         policy and model in force on the partition

A head has two parts: `PetState` is a function of the log alone (and thus comparable between machines), `Delivery`
depends on what the broker had acknowledged.
"""

from __future__ import annotations

from typing import Final

import msgspec

from schemas.facts import ImagesEmbedded, Policy
from tables.outputs import Output
from tables.pet import Candidate, Erased, Listed, Look, OpenJob, Rated, Undone, Waiting
from tables.rules import Rules, Taken

PARTITION_KEY: Final = b"/partition"


def head_key(pet: str) -> bytes:
    """Key of a pet's head."""
    return f"{pet}/h".encode()


def row_key(pet: str, kind: str, offset: int) -> bytes:
    """Key of a row: kind ``i``, ``d``, ``c`` or ``p``, and the log offset of the event that made it."""
    return f"{pet}/{kind}/{offset}".encode()


class PlacedImage(msgspec.Struct, frozen=True, array_like=True):
    """An image in an image row. `component`: see the row; `vector` as in the log."""

    image_id: str
    vector: bytes
    component: int
    score: float
    quality: float
    phash: int
    width: int
    height: int
    taken_at: str


class RatedImage(PlacedImage, frozen=True, array_like=True):
    """As written by engines that group components. `parts`: see `tables.pet.Rated`."""

    parts: tuple[int, ...] = ()


class ImageRow(msgspec.Struct, frozen=True, array_like=True):
    """Images of one event in the order in which they were folded, so that the album can be folded again.

    `merges`: (source, target) components. `recluster`: (image, component) of the whole album when the event folded it
    anew. A `component` of `UNFOLDED` means: kept, not folded (another model, or a vector that replaces an older one).
    """

    model: int
    images: list[PlacedImage]
    merges: list[tuple[int, int]] = []
    recluster: list[tuple[str, int]] | None = None
    labels: list[str] = []

    def own_label(self, image_id: str) -> str:
        """What the job has said of this image alone; empty for nothing."""
        return ""

    def labels_of(self, image_id: str) -> list[str]:
        """What an image of this event votes for: its own label, else those of its job."""
        own = self.own_label(image_id)
        return [own] if own else self.labels


class LabelledRow(ImageRow, frozen=True, array_like=True):
    """The row of an event that labels single images; of any other, `own_labels` is not written."""

    own_labels: dict[str, str] = {}

    def own_label(self, image_id: str) -> str:
        """As ImageRow."""
        return self.own_labels.get(image_id, "")


UNFOLDED: Final = -2


class Segment(msgspec.Struct, array_like=True):
    """Ids done with: (model, image ids) per event, ended jobs, and the offsets of events that wrote an image row."""

    images: list[tuple[int, list[str]]] = []
    jobs: list[str] = []
    rows: list[int] = []
    events: int = 0
    size: int = 0


class ComponentRow(msgspec.Struct, frozen=True, array_like=True):
    """One component with its group."""

    component: int
    count: int
    weight: int
    total: bytes
    number: int
    members: list[Listed]
    heroes: list[Listed]
    votes: dict[str, int]
    waiting: list[Waiting]


class GroupedRow(ComponentRow, frozen=True, array_like=True):
    """As written by engines that group components."""

    looks: list[Look] = []


class DecidedComponentRow(GroupedRow, frozen=True, array_like=True):
    """The row of a component of which users' decisions hold images; of any other, `taken` is not written."""

    taken: Taken | None = None


class EventRow(msgspec.Struct, frozen=True, array_like=True):
    """What an event touched, and what it sent."""

    components: list[ComponentRow]
    outputs: list[Output]


class DecidedRow(EventRow, frozen=True, array_like=True):
    """The row of an event that changed what users' decisions hold; of any other, `rules` is not written."""

    rules: Rules | None = None


RULES: Final = -1
"""Stands among a head's components for the rules, which have their newest row as a component has."""


class PurgeRow(msgspec.Struct, frozen=True, array_like=True):
    """The rows that stood at a purge: kind and offsets. Like `Delivery`, it tells of this table, not of the log."""

    rows: list[tuple[str, list[int]]]


class PetState(msgspec.Struct, frozen=True, array_like=True):
    """The part of the head that is a function of the log. `components`: (component, offset of its newest row), `RULES`
    among them.
    """

    version: int
    last_offset: int
    version_offset: int
    next_component: int
    next_cluster: int
    image_count: int
    unclustered_count: int
    dimension: int
    models: list[str]
    model: int
    coverage: dict[str, float]
    quality_score: float | None
    aliases: dict[int, int]
    jobs: dict[str, OpenJob]
    components: list[tuple[int, int]]
    segments: list[int]
    tail: Segment


class PurgedState(PetState, frozen=True, array_like=True):
    """The state of a pet that was purged once; of any other, `erased` is not written."""

    erased: Erased | None = None


class GroupedState(PurgedState, frozen=True, array_like=True):
    """The state of a pet whose mixture is of an engine that groups components; of any other, it is not written."""

    grouped: bool = False


class DecidedState(GroupedState, frozen=True, array_like=True):
    """The state of a pet of which a decision was undone; of any other, `undone` is not written."""

    undone: list[Undone] = []


class Garbage(msgspec.Struct, array_like=True):
    """A component row that nothing refers to: superseded at event `dropped`, deleted at event `deleted` (-1: not
    yet).
    """

    row: int
    dropped: int
    deleted: int = -1


class Pending(msgspec.Struct, frozen=True, array_like=True):
    """An event whose acknowledgement was not yet known, and which kinds of rows it wrote."""

    offset: int
    kinds: str


class Delivery(msgspec.Struct, array_like=True):
    """The part of the head that depends on what the broker had acknowledged."""

    pending: list[Pending] = []
    garbage: list[Garbage] = []


class Head(msgspec.Struct, frozen=True, array_like=True):
    """The commit point of a pet."""

    state: PetState
    delivery: Delivery


class _ReadImageRow(LabelledRow, frozen=True, array_like=True):
    """As it is read: images that end before `parts` have none. So it is with the next two."""

    images: list[RatedImage]  # type: ignore[assignment]  # rows are read, never added to: narrower is right


class _ReadComponentRow(DecidedComponentRow, frozen=True, array_like=True):
    heroes: list[Candidate]  # type: ignore[assignment]
    waiting: list[Rated]  # type: ignore[assignment]


class _ReadEventRow(DecidedRow, frozen=True, array_like=True):
    components: list[_ReadComponentRow]  # type: ignore[assignment]


class _ReadHead(Head, frozen=True, array_like=True):
    """As it is read: what a state ends before has its default."""

    state: DecidedState


class PartitionFact(msgspec.Struct, frozen=True, array_like=True):
    """Policy and promoted model (empty: none yet) from log offset `offset` on."""

    offset: int
    policy: Policy
    model: str
    dimension: int


class PartitionRow(msgspec.Struct, frozen=True, array_like=True):
    """Oldest first; kept long enough that a repeated event finds what was in force."""

    facts: list[PartitionFact]


_encoder = msgspec.msgpack.Encoder()
_image_row = msgspec.msgpack.Decoder(_ReadImageRow)
_segment = msgspec.msgpack.Decoder(Segment)
_event_row = msgspec.msgpack.Decoder(_ReadEventRow)
_purge_row = msgspec.msgpack.Decoder(PurgeRow)
_head = msgspec.msgpack.Decoder(_ReadHead)
_state = msgspec.msgpack.Decoder(DecidedState)
_partition = msgspec.msgpack.Decoder(PartitionRow)


def encode(row: ImageRow | Segment | EventRow | PurgeRow | Head | PetState | PartitionRow) -> bytes:
    """The bytes of a row; equal rows give equal bytes (msgspec keeps field and insertion order)."""
    return _encoder.encode(row)


def image_row(model: int, fact: ImagesEmbedded) -> ImageRow:
    """The row of an event, without its images so far."""
    own = {image.image_id: image.insight.label for image in fact.images if image.insight and image.insight.label}
    labels = list(fact.job.labels)
    return LabelledRow(model, [], labels=labels, own_labels=own) if own else ImageRow(model, [], labels=labels)


def decode_image_row(raw: bytes) -> ImageRow:
    """Inverse of `encode`, but for the kind of the row and its images, which is the one that tells most."""
    return _image_row.decode(raw)


def plain_group(row: ComponentRow) -> tuple[list[Listed], list[Waiting]]:
    """Heroes and waiting members as engines that do not group components write them."""
    heroes = [Listed(each.image_id, each.score, each.quality) for each in row.heroes]
    waiting = [Waiting(*[getattr(each, name) for name in Waiting.__struct_fields__]) for each in row.waiting]
    return heroes, waiting


def looks_of(row: ComponentRow) -> list[Look]:
    """The looks of a component, none for one of an engine that does not group components."""
    return list(row.looks) if isinstance(row, GroupedRow) else []


def taken_of(row: ComponentRow) -> Taken | None:
    """What users' decisions hold of a component."""
    return row.taken if isinstance(row, DecidedComponentRow) else None


def decode_segment(raw: bytes) -> Segment:
    """Inverse of `encode`."""
    return _segment.decode(raw)


def decode_event_row(raw: bytes) -> DecidedRow:
    """Inverse of `encode`, but that every hero is a Candidate, and who waits is Rated; `plain_group` takes it back."""
    return _event_row.decode(raw)


def decode_purge_row(raw: bytes) -> PurgeRow:
    """Inverse of `encode`."""
    return _purge_row.decode(raw)


def erased_of(state: PetState) -> Erased | None:
    """What purges have said."""
    return state.erased if isinstance(state, PurgedState) else None


def is_grouped(state: PetState) -> bool:
    """Whether the mixture is of an engine that groups components."""
    return isinstance(state, GroupedState) and state.grouped


def undone_of(state: PetState) -> list[Undone]:
    """The last decisions that were undone."""
    return list(state.undone) if isinstance(state, DecidedState) else []


def decode_head(raw: bytes) -> Head:
    """Inverse of `encode`, but for the kind of the state, which is the one that tells most."""
    return _head.decode(raw)


def decode_state(raw: bytes) -> PetState:
    """The state of a head alone, as `decode_head` gives it."""
    return _state.decode(raw)


def decode_partition(raw: bytes) -> PartitionRow:
    """Inverse of `encode`."""
    return _partition.decode(raw)


def is_head(key: bytes) -> bool:
    """Whether a pet's head stands under this key."""
    return key.endswith(b"/h")


def is_purge_row(key: bytes) -> bool:
    """Whether the list of a purge's deletions stands under this key."""
    return b"/p/" in key


def supersedes(old: bytes, new: bytes) -> bool:
    """Whether the head `new` may replace the head `old` during recovery: a head never goes back in the log.

    State is a function of a prefix of the log, so of two heads the one further on is right, whoever wrote last.
    """
    return decode_head(new).state.last_offset >= decode_head(old).state.last_offset
