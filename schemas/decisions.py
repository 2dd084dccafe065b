"""Users' decisions about an album: what each kind takes, and what became of one.

A decision is a fact, `schemas.facts.DecisionSubmitted`; its `arguments` are one of the structs below, by `kind`. The
fold settles it (tables.decide) and says how on `media.pet-versions`. To add a kind: a struct here, and what it says in
tables.decision_kinds.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec

from schemas.bounds import MAX_NAME
from schemas.errors import InvalidInput
from schemas.ids import check_id

DECISION_SETTLED_TYPE: Final = "media.DecisionSettled.v1"
DECISION_FORMAT: Final = 4
"""`format` of a DecisionSettled, beside those of schemas.versions."""
MAX_NAMED_IMAGES: Final = 1_000
"""Images that one decision names."""
MAX_NAMED_CLUSTERS: Final = 32

Cluster = Annotated[int, msgspec.Meta(ge=0, le=(1 << 31) - 1)]


class Rename(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The cluster is called `name` from now on, and the images that lie in it stay in it."""

    cluster: Cluster
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME)]


class PinHero(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The image, which lies in the cluster, is its first hero and stays in it."""

    cluster: Cluster
    image_id: str


class Merge(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The clusters are one, with the number of the first; what lies in them stays together."""

    clusters: Annotated[tuple[Cluster, ...], msgspec.Meta(min_length=2, max_length=MAX_NAMED_CLUSTERS)]


class Split(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """These images of the cluster become one of their own, and never lie with the others that are in it now.

    `image_ids`: none for a split in two by likeness.
    """

    cluster: Cluster
    image_ids: Annotated[tuple[str, ...], msgspec.Meta(max_length=MAX_NAMED_IMAGES)] = ()


class NotHere(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """These images of the cluster do not belong in it; they lie in no cluster until another decision names them."""

    cluster: Cluster
    image_ids: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=MAX_NAMED_IMAGES)]


class Together(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """These images belong together: they lie in one cluster, the one that most of them are in, else a new one."""

    image_ids: Annotated[tuple[str, ...], msgspec.Meta(min_length=2, max_length=MAX_NAMED_IMAGES)]


class RemoveImages(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """These images are no longer in the album."""

    image_ids: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=MAX_NAMED_IMAGES)]


class Undo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The decision of this id holds no longer. What was decided on top of it is to be undone before."""

    decision_id: str


Arguments = Rename | PinHero | Merge | Split | NotHere | Together | RemoveImages | Undo
KINDS: Final[dict[str, type[Arguments]]] = {
    "rename": Rename,
    "pin_hero": PinHero,
    "merge": Merge,
    "split": Split,
    "not_here": NotHere,
    "together": Together,
    "remove_images": RemoveImages,
    "undo": Undo,
}

RefusalCode = Literal["", "not_found", "moved_on", "conflict", "too_many"]
"""Why a decision was refused: it names what the album has not; the album has changed since the version that it was
made at in a way that matters; it contradicts another one that holds; the pet has too many. Empty: it was accepted.
"""


class DecisionSettled(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a decision; on `media.pet-versions`, behind the version that it made, if any.

    `version`: the one that it made, or at which it was refused. `reason`: in words, of a refusal. `cluster`: the number
    of the cluster that it is about, as a merge keeps or a split begins it, else -1. `images`: how many lie elsewhere
    now. `undoes`: the decision that holds no longer. `time`, `partition`, `offset`: of the fact.
    """

    format: int = DECISION_FORMAT
    pet_id: str
    decision_id: str
    kind: str
    arguments: dict[str, Any]
    expected_version: int
    who: str
    why: str
    time: str
    partition: int
    offset: int
    accepted: bool
    version: int
    code: RefusalCode = ""
    reason: str = ""
    cluster: int = -1
    images: int = 0
    undoes: str = ""


def parse_arguments(kind: str, arguments: dict[str, Any], field: str = "arguments") -> Arguments:
    """The arguments of a decision. Raises InvalidInput naming `kind` or the field of `arguments`, called `field`."""
    wanted = KINDS.get(kind)
    if wanted is None:
        raise InvalidInput("kind", f"must be one of {', '.join(KINDS)}")
    try:
        found = msgspec.convert(arguments, wanted)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `$")
        raise InvalidInput(field + path.rstrip("`"), reason) from None
    if isinstance(found, Rename) and not found.name.strip():
        raise InvalidInput(f"{field}.name", "must not be blank")
    if isinstance(found, Merge) and len(set(found.clusters)) < len(found.clusters):
        raise InvalidInput(f"{field}.clusters", "names a cluster twice")
    for name in ("image_id", "decision_id"):
        if hasattr(found, name):
            check_id(getattr(found, name), f"{field}.{name}")
    for index, image_id in enumerate(getattr(found, "image_ids", ())):
        check_id(image_id, f"{field}.image_ids[{index}]")
    if len(set(getattr(found, "image_ids", ()))) < len(getattr(found, "image_ids", ())):
        raise InvalidInput(f"{field}.image_ids", "names an image twice")
    return found
