"""What changed between two versions of a pet, from rows that hold since and until a version. Called by the reader.

Only rows that began or ended between the two are read, so the cost is that of the changes and not of the album.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from projections.answers import HeroRow
from projections.cursors import foreign_cursor, pack, unpack, whole_number
from projections.members import PlacedBy, decode_placed_by
from projections.queries import load
from schemas.answers import AnswerHero
from schemas.ids import UNCLUSTERED, cluster_id, is_id

_CLUSTERS: Final = "c"
_IMAGES: Final = "i"


class ClusterState(msgspec.Struct, frozen=True):
    """A cluster at a version, without its members; the first hero is the cluster's."""

    label: str
    member_count: int
    tightness: float
    heroes: tuple[AnswerHero, ...]


class ClusterDifference(msgspec.Struct, frozen=True, kw_only=True):
    """A cluster that is not as it was. `before` is null for one that `appeared`, `after` for one that is gone.

    `merged_into`: which cluster has its members, merges followed to their end; null for one that `ended` otherwise, or
    whose merge retention has removed. `split_from`: the clusters in which images of an appeared one lay before.
    """

    cluster: str
    change: Literal["appeared", "changed", "merged", "ended"]
    before: ClusterState | None
    after: ClusterState | None
    hero_changed: bool
    merged_into: str | None
    split_from: tuple[str, ...]


class ImageDifference(msgspec.Struct, frozen=True, kw_only=True):
    """An image that does not lie where it lay, or was `rescored` where it lies; a cluster is null for none.

    `score`, `rule` and `since_version` say how it came to lie where it lies now; null for one that `left` the album.
    """

    image_id: str
    change: Literal["appeared", "moved", "rescored", "left"]
    from_cluster: str | None
    to_cluster: str | None
    score: float | None
    rule: str | None
    since_version: int | None


@dataclass(frozen=True, slots=True)
class Difference:
    """A page: clusters by number, behind the last of them images by id."""

    clusters: list[ClusterDifference]
    images: list[ImageDifference]


class _StateRow(msgspec.Struct, frozen=True, array_like=True):
    label: str
    member_count: int
    tightness: float
    heroes: tuple[HeroRow, ...]


_states = msgspec.json.Decoder(_StateRow)


async def read_difference(
    connection: Any, pet_id: str, ends: tuple[int, int], limit: int, cursor: str | None
) -> tuple[Difference, str | None]:
    """At most `limit` clusters and images that differ at the two versions, and the cursor of the next page.

    Both versions must be there. Raises InvalidInput for a cursor of another difference.
    """
    part, after = _position(ends, cursor)
    clusters: Sequence[Any] = ()
    if part == _CLUSTERS:
        number = whole_number(after) if after else UNCLUSTERED
        clusters = await connection.fetch(load("compare_clusters"), pet_id, *ends, number, limit + 1)
        after = ""
        if len(clusters) > limit:
            shown = [_cluster(pet_id, row) for row in clusters[:limit]]
            return Difference(shown, []), _cursor(ends, _CLUSTERS, clusters[limit - 1]["cluster_number"])
    room = limit - len(clusters)
    images = await connection.fetch(load("compare_images"), pet_id, *ends, after, room + 1)
    page = Difference([_cluster(pet_id, row) for row in clusters], [_image(pet_id, row) for row in images[:room]])
    if len(images) <= room:
        return page, None
    return page, _cursor(ends, _IMAGES, images[room - 1]["image_id"] if room else after)


def _cursor(ends: tuple[int, int], part: str, key: object) -> str:
    return pack(*ends, part, key)


def _position(ends: tuple[int, int], cursor: str | None) -> tuple[str, str]:
    """Which of the two lists a page begins in, and the key behind which; an empty key is the list's begin."""
    if not cursor:
        return _CLUSTERS, ""
    earlier, later, part, key = unpack(cursor, 4)
    known = part == _CLUSTERS or (part == _IMAGES and (key == "" or is_id(key)))
    if not known or (whole_number(earlier), whole_number(later)) != ends:
        raise foreign_cursor()
    return part, key


def _cluster(pet_id: str, row: Any) -> ClusterDifference:
    number, heir = row["cluster_number"], row["heir"]
    before, after = _state(row["before"]), _state(row["after"])
    merged = heir is not None and heir != number
    if after is None:
        change: Literal["appeared", "changed", "merged", "ended"] = "merged" if merged else "ended"
    else:
        change = "appeared" if before is None else "changed"
    return ClusterDifference(
        cluster=cluster_id(pet_id, number),
        change=change,
        before=before,
        after=after,
        hero_changed=change == "changed" and _hero(before) != _hero(after),
        merged_into=cluster_id(pet_id, heir) if merged else None,
        split_from=tuple(cluster_id(pet_id, source) for source in row["sources"] or ()),
    )


def _state(encoded: str | None) -> ClusterState | None:
    if encoded is None:
        return None
    row = _states.decode(encoded)
    heroes = tuple(hero.answer() for hero in row.heroes)
    return ClusterState(row.label, row.member_count, row.tightness, heroes)


def _hero(state: ClusterState | None) -> str | None:
    return state.heroes[0].image_id if state is not None and state.heroes else None


def _image(pet_id: str, row: Any) -> ImageDifference:
    placed = decode_placed_by(row["metadata"]) if row["is_there"] else PlacedBy()
    return ImageDifference(
        image_id=row["image_id"],
        change=_image_change(row),
        from_cluster=_named(pet_id, row["from_cluster"]),
        to_cluster=_named(pet_id, row["to_cluster"]),
        score=row["score"],
        rule=placed.rule if row["is_there"] else None,
        since_version=row["since_version"],
    )


def _image_change(row: Any) -> Literal["appeared", "moved", "rescored", "left"]:
    if not row["was_there"]:
        return "appeared"
    if not row["is_there"]:
        return "left"
    return "moved" if row["from_cluster"] != row["to_cluster"] else "rescored"


def _named(pet_id: str, number: int | None) -> str | None:
    return None if number is None or number == UNCLUSTERED else cluster_id(pet_id, number)
