"""The state of one pet, decoded: its mixture, what the public sees of each component, its open jobs.

    Pet
    ├── mixture            vectors and component ids (tables.mixture)
    ├── groups             per component: cluster number, listed members, heroes, label votes
    ├── folded, ended      ids of images and jobs that are done with
    ├── clusters           which components make up each cluster (tables.clusters), derived from the groups
    ├── rules              what users have decided and holds (tables.rules); the parts above know nothing of it
    └── jobs               runs of jobs whose commands are not all settled, by `JobContext.key`, oldest first

Used by the fold (tables.fold) and by tables.rows, which turns it into bytes and back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec

from schemas.facts import EmbeddedImage
from schemas.ids import UNCLUSTERED
from tables.clusters import Clusters
from tables.mixture import Mixture

if TYPE_CHECKING:
    from tables.decided import Before
    from tables.rules import Rules, Taken

HERO_CANDIDATES: Final = 8
HEROES_SHOWN: Final = 3
LABELS_COUNTED: Final = 16
FAILURES_REPORTED: Final = 16
"""Failed images that a job's status names; all of them stand in the dead letter topic."""
FAILURES_NOTED: Final = 64
"""Failed images that all open jobs of a pet name together; a bound of the head."""
ALIASES_KEPT: Final = 1_024
"""Ended clusters whose successor is remembered; a bound of the head. Postgres knows all."""
MAX_OPEN_JOBS: Final = 128
"""Jobs of a pet that are under way; beyond it the oldest is ended as failed. A bound of the head."""


class Listed(msgspec.Struct, frozen=True, array_like=True):
    """A member that an answer may list: id, recorded score, measured quality."""

    image_id: str
    score: float
    quality: float


class Candidate(Listed, frozen=True, array_like=True):
    """One that may be a hero, as engines that group components keep it; see tables.heroes.

    `parts`: of its score, in thousandths. `worth`: the score. `hero`: whether it is its cluster's.
    """

    phash: int = 0
    parts: tuple[int, ...] = ()
    worth: int = 0
    hero: bool = False


class Waiting(msgspec.Struct, frozen=True, array_like=True):
    """A member of a component that is no cluster yet, with what its row will need when it becomes one."""

    image_id: str
    score: float
    quality: float
    phash: int
    width: int
    height: int
    taken_at: str


class Rated(Waiting, frozen=True, array_like=True):
    """The same by engines that group components. `parts`: the image's own, of its score as a hero (tables.heroes).
    `duplicate_of`: the image whose near-duplicate it is, empty for none.
    """

    parts: tuple[int, ...] = ()
    duplicate_of: str = ""


class Look(msgspec.Struct, frozen=True, array_like=True):
    """A group of near-duplicates: perceptual hash and id of its first image."""

    phash: int
    image_id: str


@dataclass
class Group:
    """What the public sees of a component. All lists are bounded, so that its bytes do not grow with the album.

    `number`: of the cluster that the component belongs to, or -1 for none. `members`: best score first. `heroes`:
    candidates, best quality first. `votes`: label → images whose job carried it. `waiting`: all members of a component
    that may still be, or become again, too small for a cluster. `looks`: see tables.duplicates; only engines that group
    components keep them. `taken`: what users' decisions hold of its images, which all else here knows nothing of.
    """

    number: int = UNCLUSTERED
    members: list[Listed] = field(default_factory=list)
    heroes: list[Listed] = field(default_factory=list)
    votes: dict[str, int] = field(default_factory=dict)
    waiting: list[Waiting] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    taken: Taken | None = None

    def list_members(self, members: list[Listed], limit: int) -> None:
        """List more members, best score first; ties keep the order of arrival."""
        self.members = sorted([*self.members, *members], key=lambda m: -m.score)[:limit]

    def offer_heroes(self, candidates: list[Listed]) -> None:
        """Consider more heroes, best quality first; ties keep the order of arrival."""
        self.heroes = sorted([*self.heroes, *candidates], key=lambda m: -m.quality)[:HERO_CANDIDATES]

    def vote(self, votes: dict[str, int]) -> None:
        """Count labels; beyond `LABELS_COUNTED` different ones, new ones are ignored."""
        for label, count in votes.items():
            if label in self.votes or len(self.votes) < LABELS_COUNTED:
                self.votes[label] = self.votes.get(label, 0) + count


class FailureNote(msgspec.Struct, frozen=True, array_like=True):
    """One failed image of an open job."""

    image_id: str
    kind: str
    reason: str


class Erased(msgspec.Struct, frozen=True, array_like=True):
    """What purges of the pet have said, so that what they meant is ignored whenever it comes.

    `accepted_until`: of the latest, RFC 3339. `keys`: all that sealed what is gone. `purges`: their ids.
    """

    accepted_until: str
    keys: list[str]
    purges: list[str]


class Undone(msgspec.Struct, frozen=True, array_like=True):
    """A decision that was undone: at which version, and the clusters that it had to do with."""

    version: int
    clusters: tuple[int, ...]


UNDONE_KEPT: Final = 16
"""Undone decisions that are remembered, to tell who decided about what they had done; a bound of the head."""
UNKNOWN_NUMBER: Final = -1


class Retried(msgspec.Struct, frozen=True, array_like=True):
    """A command (parts, part) whose try `attempt` left images pending, and how many failed in it.

    `pending`: images that are not counted yet; `UNKNOWN_NUMBER` while the pet's list of images could not be had.
    """

    parts: int
    part: int
    attempt: int
    pending: int
    failed: int

    def failed_in(self, attempt: int) -> int:
        """How many failures of this try are counted."""
        return self.failed if attempt == self.attempt else 0


class OpenJob(msgspec.Struct, array_like=True):
    """A job whose commands are not all settled.

    `settled`: (parts, part) of those that are: a job may be split anew, and ends when all commands of one split are
    settled. `retried`: those that wait for another try. `attempt`: highest seen.
    """

    settled: list[tuple[int, int]] = []
    placed: int = 0
    known: int = 0
    failed: int = 0
    failures: list[FailureNote] = []
    attempt: int = 1
    retried: list[Retried] = []


@dataclass
class Pet:
    """One pet. `models`: all models it has vectors of; `model`: index of the one its mixture is of, -1 for none.

    `version_offset`: log offset of the event that made the current version, -1 before the first. `snapshot`: the
    message that this event sent to `media.clusters.updated`. `aliases`: ended cluster numbers and their successors.
    `erased`: what its purges have said, None when there was none. `grouped`: whether its mixture is of an engine that
    groups components. `rules`: None while nothing is decided. `undone`: the last `UNDONE_KEPT`. `shown`: what everybody
    saw behind the last event, if that is known; not stored.
    """

    pet_id: str
    mixture: Mixture
    version: int = 0
    last_offset: int = -1
    version_offset: int = -1
    next_component: int = 0
    next_cluster: int = 0
    image_count: int = 0
    unclustered_count: int = 0
    models: list[str] = field(default_factory=list)
    model: int = -1
    coverage: dict[str, float] = field(default_factory=dict)
    quality_score: float | None = None
    aliases: dict[int, int] = field(default_factory=dict)
    groups: dict[int, Group] = field(default_factory=dict)
    clusters: Clusters = field(default_factory=Clusters)
    jobs: dict[str, OpenJob] = field(default_factory=dict)
    folded: set[tuple[int, str]] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)
    snapshot: bytes = b""
    erased: Erased | None = None
    grouped: bool = False
    rules: Rules | None = None
    undone: list[Undone] = field(default_factory=list)
    shown: Before | None = None

    def memory(self) -> int:
        """Bytes that this pet takes in memory, roughly: its sums, its groups at 2 KB and its ids at 120 bytes each."""
        ids = len(self.folded) + len(self.ended) + (2 * self.rules.images_placed() if self.rules else 0)
        return self.mixture.memory() + self.clusters.memory() + 2_048 * len(self.groups) + 120 * ids

    def end(self, number: int, heir: int) -> None:
        """Remember where a cluster that has ended went, of the last `ALIASES_KEPT`."""
        self.aliases[number] = heir
        while len(self.aliases) > ALIASES_KEPT:
            del self.aliases[next(iter(self.aliases))]

    def assign(self, component: int, number: int) -> None:
        """Let a component belong to a cluster; UNCLUSTERED for none."""
        self.groups[component].number = number
        self.clusters.put(component, number)

    def drop(self, component: int) -> Group:
        """Take a component's group away, as its component was."""
        self.clusters.put(component, UNCLUSTERED)
        return self.groups.pop(component)

    def model_index(self, model: str) -> int:
        """The number of a model in this pet's rows; a new one is added."""
        if model not in self.models:
            self.models.append(model)
        return self.models.index(model)


def waiting_of(image: EmbeddedImage, score: float) -> Waiting:
    """What is kept of an image while its component is no cluster."""
    return Waiting(image.image_id, score, image.quality.score, image.phash, image.width, image.height, image.taken_at)
