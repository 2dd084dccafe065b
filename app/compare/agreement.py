"""How far two answers about one pet agree. Pure. Called by `app.compare.run`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from math import comb

from app.compare.albums import Album


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Two answers about one pet; "there" is the predecessor.

    `ari`: agreement of the grouping of the photos that the predecessor lists, 1 for the same; None when it lists none.
    `missing`: photos listed there that this service does not know. `only_here`: photos that are not listed there, as
    those in no cluster and those beyond its longest list never are. `heroes_same`: of its `heroes`, those that are
    the first hero of the cluster here that shares most photos with theirs; `heroes_known`: that are any hero of it.
    """

    ari: float | None
    photos_there: int
    photos_here: int
    missing: tuple[str, ...]
    only_here: int
    clusters_there: int
    clusters_here: int
    heroes: int
    heroes_same: int
    heroes_known: int


def compare_albums(there: Album, here: Album) -> Agreement:
    """Compare; a photo that is missing here counts as one in a cluster of its own."""
    theirs, ours = there.places(), here.places()
    ranked = [here.heroes.get(_nearest(photos, ours), ()) for photos in (there.clusters[each] for each in there.heroes)]
    first = [heroes[0] for heroes in there.heroes.values()]
    return Agreement(
        ari=adjusted_rand_index((theirs[each], ours.get(each, f"missing/{each}")) for each in theirs)
        if theirs
        else None,
        photos_there=len(theirs),
        photos_here=len(ours),
        missing=tuple(sorted(theirs.keys() - ours.keys())),
        only_here=len(ours.keys() - theirs.keys()),
        clusters_there=len(there.clusters),
        clusters_here=len(here.clusters),
        heroes=len(first),
        heroes_same=sum(found[:1] == (hero,) for hero, found in zip(first, ranked, strict=True)),
        heroes_known=sum(hero in found for hero, found in zip(first, ranked, strict=True)),
    )


def adjusted_rand_index(pairs: Iterable[tuple[Hashable, Hashable]]) -> float:
    """Of two partitions, given as the two clusters of each element: 1 for the same, about 0 for unrelated ones.

    L. Hubert and P. Arabie, Comparing Partitions, Journal of Classification 2 (1985), equation 5. Two partitions that
    are the same count as 1 where the formula is 0 ÷ 0.
    """
    joint = Counter(pairs)
    rows: Counter[Hashable] = Counter()
    columns: Counter[Hashable] = Counter()
    for (row, column), number in joint.items():
        rows[row] += number
        columns[column] += number
    together, in_rows, in_columns = (
        sum(comb(number, 2) for number in each.values()) for each in (joint, rows, columns)
    )
    if together == in_rows == in_columns:
        return 1.0
    expected = in_rows * in_columns / comb(joint.total(), 2)
    return (together - expected) / ((in_rows + in_columns) / 2 - expected)


def _nearest(photos: Iterable[str], places: dict[str, str]) -> str:
    """The cluster that most of the photos lie in; of several, the one with the first of them. Empty when in none."""
    common = Counter(places[photo] for photo in photos if photo in places).most_common(1)
    return common[0][0] if common else ""
