"""Two groupings of one pet's photos compared, and the sums of many pets. Pure. Used by `work`, `report` and `page`.

today      {a b c}   {d e}   f            Clusters are partners by the largest overlap, each of one other at most:
              │  ╲      │     ╲           {a b c}–{a b}, {d e}–{d e f}. A photo has moved when it does not lie in
what if    {a b}  c   {d e f}             the partner of its cluster: c and f. No cluster is the partner of none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from app.compare.agreement import adjusted_rand_index
from app.compare.albums import Album

NONE: Final = ""
"""Stands for the id of a cluster where there is none: of photos in no cluster, and of a missing partner."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A cluster today and its partner, of which something differs; both `NONE`: the photos in no cluster.

    `stay`: photos in both. `leave`: (photo, the cluster to which it goes). `arrive`: (photo, the one it comes from).
    """

    today: str
    what_if: str
    hero_today: str
    hero_what_if: str
    stay: tuple[str, ...]
    leave: tuple[tuple[str, str], ...]
    arrive: tuple[tuple[str, str], ...]

    @property
    def hero_differs(self) -> bool:
        """Whether both clusters are there, and have other heroes."""
        return NONE not in (self.today, self.what_if) and self.hero_today != self.hero_what_if


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """What differs between the two groupings of a pet.

    `ari`: agreement of the grouping of the photos that both know, 1 for the same; None when there are none. `moved`: of
    those. `lost`: clusters of today without a partner, `made`: new ones without. `heroes`: (cluster today, its
    partner, hero today, the other hero) of partners whose hero differs. `only_today`, `only_what_if`: photos that one
    side alone knows, since the other has refused their fact. `changes`: in order of the clusters.
    """

    pet_id: str
    ari: float | None
    photos: int
    moved: int
    clusters_today: int
    clusters_what_if: int
    made: tuple[str, ...]
    lost: tuple[str, ...]
    heroes: tuple[tuple[str, str, str, str], ...]
    only_today: int
    only_what_if: int
    changes: tuple[Change, ...] = ()

    @property
    def differs(self) -> bool:
        """Whether anything does."""
        return bool(self.moved or self.made or self.lost or self.heroes or self.only_today or self.only_what_if)

    @property
    def rank(self) -> tuple[float, int, str]:
        """What has changed most comes first."""
        return 2.0 if self.ari is None else self.ari, -self.moved, self.pet_id

    def fields(self) -> dict[str, Any]:
        """As a line of JSON tells it, without `changes`."""
        names = ("cluster_today", "cluster_what_if", "hero_today", "hero_what_if")
        return {
            "pet_id": self.pet_id,
            "ari": self.ari,
            "photos": self.photos,
            "moved": self.moved,
            "clusters_today": self.clusters_today,
            "clusters_what_if": self.clusters_what_if,
            "clusters_made": self.made,
            "clusters_lost": self.lost,
            "heroes_changed": [dict(zip(names, each, strict=True)) for each in self.heroes],
            "photos_only_today": self.only_today,
            "photos_only_what_if": self.only_what_if,
        }


def compare(pet_id: str, today: Album, what_if: Album) -> Difference:
    """Compare two albums of a pet."""
    before, after = _places(today), _places(what_if)
    both = [photo for photo in before if photo in after]
    partner = _partners((before[photo], after[photo]) for photo in both)
    follows = {NONE: NONE, **partner}  # those of a lost cluster have nowhere to stay
    taken = set(partner.values())
    pairs = [(old, partner.get(old, NONE)) for old in today.clusters]
    pairs += [(NONE, new) for new in what_if.clusters if new not in taken]
    changes = [_change(old, new, today, what_if, before, after) for old, new in [*pairs, (NONE, NONE)]]
    mine, theirs = today.places(), what_if.places()
    return Difference(
        pet_id=pet_id,
        ari=adjusted_rand_index((mine[photo], theirs[photo]) for photo in both) if both else None,
        photos=len(both),
        moved=sum(follows.get(before[photo]) != after[photo] for photo in both),
        clusters_today=len(today.clusters),
        clusters_what_if=len(what_if.clusters),
        made=tuple(new for old, new in pairs if old == NONE),
        lost=tuple(old for old, new in pairs if new == NONE),
        heroes=tuple((e.today, e.what_if, e.hero_today, e.hero_what_if) for e in changes if e.hero_differs),
        only_today=len(before) - len(both),
        only_what_if=len(after) - len(both),
        changes=tuple(each for each in changes if each.leave or each.arrive or each.hero_differs),
    )


def _places(album: Album) -> dict[str, str]:
    """Photo → cluster, or NONE."""
    found = dict.fromkeys(album.loose, NONE)
    for cluster, photos in album.clusters.items():
        found.update(dict.fromkeys(photos, cluster))
    return found


def _partners(places: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Cluster today → its partner: the largest overlap first; of equal ones, that of the photo that stands first."""
    overlap = Counter(pair for pair in places if NONE not in pair)
    found: dict[str, str] = {}
    taken: set[str] = set()
    for (old, new), _ in overlap.most_common():
        if old not in found and new not in taken:
            found[old] = new
            taken.add(new)
    return found


def _change(
    old: str, new: str, today: Album, what_if: Album, before: Mapping[str, str], after: Mapping[str, str]
) -> Change:
    """`before`, `after`: photo → cluster."""
    loose = old == new == NONE
    here = today.loose if loose else today.clusters.get(old, ())
    there = what_if.loose if loose else what_if.clusters.get(new, ())
    stays = set(here) & set(there)
    return Change(
        today=old,
        what_if=new,
        hero_today=_hero(today, old),
        hero_what_if=_hero(what_if, new),
        stay=tuple(photo for photo in here if photo in stays),
        leave=tuple((photo, after[photo]) for photo in here if photo not in stays and photo in after),
        arrive=tuple((photo, before[photo]) for photo in there if photo not in stays and photo in before),
    )


def _hero(album: Album, cluster: str) -> str:
    return next(iter(album.heroes.get(cluster, ())), "")


@dataclass(slots=True)
class Totals:
    """The sums of what was added. `ari`: mean over the pets with photos, None when there are none; `least`: lowest."""

    pets: int = 0
    pets_differing: int = 0
    photos: int = 0
    moved: int = 0
    clusters_today: int = 0
    clusters_what_if: int = 0
    made: int = 0
    lost: int = 0
    heroes: int = 0
    only_today: int = 0
    only_what_if: int = 0
    _scores: list[float] = field(default_factory=list)

    def add(self, found: Difference) -> None:
        """Count one pet."""
        self.pets += 1
        self.pets_differing += found.differs
        self.photos += found.photos
        self.moved += found.moved
        self.clusters_today += found.clusters_today
        self.clusters_what_if += found.clusters_what_if
        self.made += len(found.made)
        self.lost += len(found.lost)
        self.heroes += len(found.heroes)
        self.only_today += found.only_today
        self.only_what_if += found.only_what_if
        if found.ari is not None:
            self._scores.append(found.ari)

    @property
    def ari(self) -> float | None:
        """See the class."""
        return sum(self._scores) / len(self._scores) if self._scores else None

    @property
    def least(self) -> float | None:
        """See the class."""
        return min(self._scores, default=None)

    def fields(self) -> dict[str, Any]:
        """As the last line of JSON tells it."""
        return {
            "pets": self.pets,
            "pets_differing": self.pets_differing,
            "ari": self.ari,
            "ari_least": self.least,
            "photos": self.photos,
            "moved": self.moved,
            "clusters_today": self.clusters_today,
            "clusters_what_if": self.clusters_what_if,
            "clusters_made": self.made,
            "clusters_lost": self.lost,
            "heroes_changed": self.heroes,
            "photos_only_today": self.only_today,
            "photos_only_what_if": self.only_what_if,
        }


def summed(found: Iterable[Difference]) -> Totals:
    """The sums of all."""
    totals = Totals()
    for each in found:
        totals.add(each)
    return totals
