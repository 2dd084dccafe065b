"""What users have decided about a pet's album and holds. Pure; part of a pet's state.

    mixture (photos alone) ──▶ tables.shown ──▶ what everybody sees
    rules   (decisions)    ──▶

The mixture knows nothing of decisions, so that undoing one leaves no trace in it, and no recompute can break one: each
decision says of the images that it is about where they lie (`places`), and these are taken out of what their components
show and counted in a `Part` of their cluster instead. Later photos follow where a component's decided images lie
(`homes`). Of two decisions about an image the later one counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Final

import msgspec

from schemas.facts import Policy
from schemas.ids import UNCLUSTERED
from tables.pet import Candidate, Listed

REMOVED: Final = -2
"""Where an image lies that is no longer in the album."""


class Decision(msgspec.Struct, frozen=True, array_like=True):
    """A decision that holds. Cluster numbers are those that everybody sees.

    `version`: the one that it made. `cluster`: the cluster that it is about, or makes; -1 for none. `places`: (cluster,
    images that lie there); UNCLUSTERED for none, `REMOVED` for no longer in the album. `homes`: (component, cluster
    that its other images follow). `ended`: clusters that became `cluster`. `sources`: those that its images lay in.
    `begun`: whether `cluster` began with it.
    """

    decision_id: str
    kind: str
    version: int
    cluster: int = UNCLUSTERED
    places: tuple[tuple[int, tuple[str, ...]], ...] = ()
    homes: tuple[tuple[int, int], ...] = ()
    name: str = ""
    ended: tuple[int, ...] = ()
    sources: tuple[int, ...] = ()
    begun: bool = False

    @property
    def named(self) -> tuple[str, ...]:
        """The images that it named itself: its first ones, but for decisions about whole clusters alone."""
        return () if self.kind in ("rename", "merge") else self.places[0][1]

    @property
    def about(self) -> set[int]:
        """All clusters that it has to do with."""
        return {self.cluster, *self.ended, *self.sources} - {UNCLUSTERED}

    def images(self) -> Iterator[tuple[str, int]]:
        """Each image that it places, and the cluster."""
        return ((image_id, number) for number, image_ids in self.places for image_id in image_ids)


class Part(msgspec.Struct, frozen=True, array_like=True):
    """The decided images of a cluster. `weight`, `total`: of those whose vector is of the model in force."""

    count: int
    weight: int
    total: bytes
    members: tuple[Listed, ...]
    heroes: tuple[Candidate, ...]
    votes: dict[str, int]


class Taken(msgspec.Struct, frozen=True, array_like=True):
    """The decided images of a component. `by`: cluster that they lie in → how many. `total`: the sum of all. `votes`:
    theirs.

    `members`, `heroes`: of its other images, since those that the component lists itself may all be decided.
    """

    by: dict[int, int]
    total: bytes
    votes: dict[str, int]
    members: tuple[Listed, ...] = ()
    heroes: tuple[Candidate, ...] = ()

    @property
    def count(self) -> int:
        """How many they are."""
        return sum(self.by.values())


CLUSTER_KINDS: Final = ("rename", "merge", "split")
"""Decisions about whole clusters: where their images lie, new components of the mixture's cluster are shown, too."""


class Lookup:
    """What the decisions say, by image, component and cluster; the later decision first.

    `gone`: images that the place where they came from has no more, whatever was decided.
    """

    def __init__(self, decisions: Sequence[Decision], gone: Iterable[str] = ()) -> None:
        self.place: dict[str, int] = {}
        self.by: dict[str, str] = {}
        self.homes: dict[int, int] = {}
        self.merged: dict[int, int] = {}
        self.names: dict[int, str] = {}
        self.pins: dict[int, list[str]] = {}
        self.held: set[int] = set()
        for decision in decisions:
            for image_id, number in decision.images():
                self.place[image_id], self.by[image_id] = number, decision.decision_id
            self.homes.update(decision.homes)
            self.merged.update(dict.fromkeys(decision.ended, decision.cluster))
            if decision.kind in CLUSTER_KINDS:
                self.held.update(number for number, _ in decision.places)
        if self.merged:  # an image may come back to where a cluster was, as by the undo of its removal
            self.place = {image_id: self.standing(number) for image_id, number in self.place.items()}
        for image_id in gone:
            self.place[image_id] = REMOVED
            self.by.pop(image_id, None)
        self.removed = sum(number == REMOVED for number in self.place.values())
        own = {decision.cluster: decision.name for decision in decisions if decision.name}
        for (
            number,
            name,
        ) in own.items():  # of a merged cluster the name of the one whose number it keeps, if that has one
            standing = self.standing(number)
            self.names.setdefault(standing, own.get(standing, name))
        for decision in decisions:
            number = self.standing(decision.cluster)
            if decision.kind == "pin_hero":
                image_id = decision.named[0]
                if self.place.get(image_id) == number:
                    pins = self.pins.setdefault(number, [])
                    self.pins[number] = [image_id, *(pin for pin in pins if pin != image_id)]

    def standing(self, number: int) -> int:
        """The cluster that `number` has become by merges that hold."""
        while number in self.merged:
            number = self.merged[number]
        return number


class Rules(msgspec.Struct, frozen=True, array_like=True, dict=True):
    """All decisions of a pet that hold, oldest first, and what follows from them.

    `policy`: what was in force when they were counted last; its engine groups components. `parts`: by cluster. `gone`:
    images that the place where they came from has no more. What they hold of a component stands with it
    (`tables.pet.Group.taken`).
    """

    policy: Policy
    decisions: tuple[Decision, ...]
    parts: dict[int, Part] = {}
    gone: tuple[str, ...] = ()

    @cached_property
    def lookup(self) -> Lookup:
        """What the decisions say; made once, since each event asks."""
        return Lookup(self.decisions, self.gone)

    def images_placed(self) -> int:
        """How many images the decisions name, one that several name as often."""
        placed = sum(len(image_ids) for decision in self.decisions for _, image_ids in decision.places)
        return placed + len(self.gone)


def images_held(decisions: Sequence[Decision]) -> int:
    """How much the decisions keep: the characters of all image ids that they place."""
    return sum(len(image_id) + 2 for decision in decisions for image_id, _ in decision.images())
