"""A pet's versions, in order, as whole rows: what `projections.postgres` comes to by updates, without a database. Pure.

Called by the rebuild, which copies the rows into a shadow schema: a row is known in full once a later version has ended
it, or once there is no later version.

    member rows of one image      ──[since 1, until 4)──[since 4, until 9)──[since 9, …   open
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from projections.changes import Changes, changes_of
from projections.decisions import check_settled, decision_row
from projections.replayed import Change
from projections.text import jsonb, moment
from schemas.decisions import DecisionSettled
from schemas.errors import ServiceError
from schemas.versions import PetErased, PetVersion

Row = tuple[Any, ...]

COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "pet_clusters": (
        *("id", "pet_id", "version", "cluster_count", "image_count", "unclustered_count", "metrics", "job_id"),
        *("model", "policy_id", "max_cluster_size", "log_partition", "log_offset", "updated_at"),
    ),
    "cluster_members": (
        *("cluster_id", "image_id", "pet_id", "cluster_number", "score", "distance", "since_version"),
        *("until_version", "metadata"),
    ),
    "cluster_heroes": (
        *("cluster_id", "image_id", "pet_id", "cluster_number", "rank", "score", "since_version"),
        *("until_version", "selected_at", "parts"),
    ),
    "cluster_summaries": (
        *("pet_id", "cluster_number", "since_version", "until_version", "label", "member_count", "tightness"),
        *("merged_into", "split_from"),
    ),
    "pet_decisions": (
        *("pet_id", "decision_id", "kind", "arguments", "expected_version", "who", "why", "accepted", "code"),
        *("reason", "version", "cluster", "images", "undone_by", "log_partition", "log_offset", "decided_at"),
    ),
    "purged_versions": ("pet_id", "last_version", "purged_at"),
}
"""Table → the columns of its rows, in their order; the first is to be copied first, since others refer to it."""
VERSIONED: Final = {table: COLUMNS[table] for table in COLUMNS if table not in ("pet_decisions", "purged_versions")}
"""Those whose rows hold from a version on."""
_UNDONE_BY: Final = COLUMNS["pet_decisions"].index("undone_by")


class VersionGap(ServiceError):
    """A version does not follow the pet's last one."""


@dataclass(slots=True)
class _Member:
    cluster_id: Any
    number: int
    score: float
    since: int
    metadata: str
    component: int


@dataclass(slots=True)
class _Hero:
    cluster_id: Any
    rank: int
    score: float
    since: int
    selected_at: Any
    parts: str | None


@dataclass(slots=True)
class _Summary:
    since: int
    label: str
    member_count: int
    tightness: float
    split_from: int | None


@dataclass(slots=True)
class _Pet:
    """The rows that hold: `members` by image, `of_cluster` its images, `heroes` by cluster and image. `decisions` are
    by id: a later one may undo one.
    """

    version: int = 0
    members: dict[str, _Member] = field(default_factory=dict)
    of_cluster: dict[int, set[str]] = field(default_factory=dict)
    heroes: dict[int, dict[str, _Hero]] = field(default_factory=dict)
    summaries: dict[int, _Summary] = field(default_factory=dict)
    decisions: dict[str, Row] = field(default_factory=dict)


class BulkRows:
    """Feed it versions with `apply`; take finished rows with `take` as often as wanted, those that still hold at last
    with `holding`. Keeps the rows that hold of every pet in memory: about 0.5 KB an image.
    """

    def __init__(self) -> None:
        self._pets: dict[str, _Pet] = {}
        self._finished: dict[str, list[Row]] = {table: [] for table in COLUMNS}
        self._purges: dict[str, Row] = {}
        self.erased: dict[str, int] = {}
        """Pet → up to which version its rows, given before or not, are to be deleted where they were copied to."""

    def apply(self, version: PetVersion) -> None:
        """Add a version. Raises VersionGap, or InvalidInput for a value that no column holds; then nothing changed."""
        pet = self._pets.get(version.pet_id, _Pet())
        if version.version != pet.version + 1:
            raise VersionGap(f"{version.pet_id}: version {version.version} behind version {pet.version}")
        changes = changes_of(version)
        self._pets[version.pet_id] = pet
        pet.version = version.version
        self._finished["pet_clusters"].append(changes.version_row)
        self._regroup(pet, changes)
        self._merge(pet, changes)
        self._close(pet, changes)
        self._open(pet, changes)

    def settle(self, settled: DecisionSettled) -> None:
        """Add what became of a decision; of several with one id the first stays. Raises InvalidInput as `apply`."""
        row = decision_row(check_settled(settled))
        decisions = self._pets.setdefault(settled.pet_id, _Pet()).decisions
        if settled.decision_id in decisions:
            return
        decisions[settled.decision_id] = row
        undone = decisions.get(settled.undoes)
        if undone is not None and undone[_UNDONE_BY] is None:
            decisions[settled.undoes] = (*undone[:_UNDONE_BY], settled.decision_id, *undone[_UNDONE_BY + 1 :])

    def erase(self, erased: PetErased) -> None:
        """A purge: no row that holds is left, and the next version is the purge's plus one."""
        if self._pets.pop(erased.pet_id, _Pet()).version > 0:
            self.erased[erased.pet_id] = erased.version
        self._pets[erased.pet_id] = _Pet(version=erased.version)
        self._purges[erased.pet_id] = (erased.pet_id, erased.version, moment(erased.time, "time"))

    def take(self) -> dict[str, list[Row]]:
        """Rows that no later version changes, by table; each is given once."""
        taken, self._finished = self._finished, {table: [] for table in COLUMNS}
        return taken

    def holding(self) -> Iterator[tuple[str, Row]]:
        """(table, row) of the rows that hold; when there are no more versions to come."""
        for row in self._purges.values():
            yield "purged_versions", row
        for pet_id, pet in self._pets.items():
            for row in pet.decisions.values():
                yield "pet_decisions", row
            for image_id, member in pet.members.items():
                yield "cluster_members", _member_row(pet_id, image_id, member, None)
            for number, heroes in pet.heroes.items():
                for image_id, hero in heroes.items():
                    yield "cluster_heroes", _hero_row(pet_id, number, image_id, hero, None)
            for number, summary in pet.summaries.items():
                yield "cluster_summaries", _summary_row(pet_id, number, summary, None, None)

    def versions(self) -> dict[str, int]:
        """Pet → its last version."""
        return {pet_id: pet.version for pet_id, pet in self._pets.items()}

    def _regroup(self, pet: _Pet, changes: Changes) -> None:
        """Members that moved components took, save those that this version places itself."""
        targets = {(component, source): target for component, source, target in zip(*changes.moves, strict=True)}
        for source in dict.fromkeys(changes.moves[1]):
            unplaced = pet.of_cluster.get(source, set()).difference(changes.closed[0])
            for image_id in sorted(each for each in unplaced if (pet.members[each].component, source) in targets):
                self._move(pet, changes, image_id, targets[pet.members[image_id].component, source], "regrouped")

    def _merge(self, pet: _Pet, changes: Changes) -> None:
        """Members of merged clusters move, save those that this version places itself."""
        for source, target in zip(*changes.merges, strict=True):
            for image_id in sorted(pet.of_cluster.get(source, set()).difference(changes.closed[0])):
                self._move(pet, changes, image_id, target, "merged")

    def _move(self, pet: _Pet, changes: Changes, image_id: str, target: int, rule: str) -> None:
        moved = pet.members[image_id]
        metadata = jsonb(msgspec.json.decode(moved.metadata) | {"rule": rule})
        self._end_member(pet, changes, image_id)
        member = _Member(changes.key, target, moved.score, changes.version, metadata, moved.component)
        self._hold_member(pet, image_id, member)

    def _close(self, pet: _Pet, changes: Changes) -> None:
        images, numbers, merged_into = changes.closed
        for image_id in images:
            if image_id in pet.members:
                self._end_member(pet, changes, image_id)
        for number, target in zip(numbers, merged_into, strict=True):
            summary = pet.summaries.pop(number, None)
            if summary is not None:
                self._finished["cluster_summaries"].append(
                    _summary_row(changes.pet_id, number, summary, changes.version, target)
                )
        same = set(zip(*changes.heroes, strict=True))
        for number in numbers:
            heroes = pet.heroes.get(number, {})
            for image_id, hero in list(heroes.items()):
                if (number, image_id, hero.score, hero.rank, hero.parts) not in same:
                    del heroes[image_id]
                    self._finished["cluster_heroes"].append(
                        _hero_row(changes.pet_id, number, image_id, hero, changes.version)
                    )

    def _open(self, pet: _Pet, changes: Changes) -> None:
        for image_id, number, score, metadata, component in zip(*changes.members, changes.components, strict=True):
            member = _Member(changes.key, number, score, changes.version, metadata, component)
            self._hold_member(pet, image_id, member)
        for number, label, member_count, tightness, split_from in zip(*changes.summaries, strict=True):
            pet.summaries[number] = _Summary(changes.version, label, member_count, tightness, split_from)
        for number, image_id, score, rank, parts in zip(*changes.heroes, strict=True):
            hero = _Hero(changes.key, rank, score, changes.version, changes.version_row[-1], parts)
            pet.heroes.setdefault(number, {}).setdefault(image_id, hero)

    def _end_member(self, pet: _Pet, changes: Changes, image_id: str) -> None:
        member = pet.members.pop(image_id)
        pet.of_cluster[member.number].discard(image_id)
        self._finished["cluster_members"].append(_member_row(changes.pet_id, image_id, member, changes.version))

    @staticmethod
    def _hold_member(pet: _Pet, image_id: str, member: _Member) -> None:
        pet.members[image_id] = member
        pet.of_cluster.setdefault(member.number, set()).add(image_id)


def _member_row(pet_id: str, image_id: str, member: _Member, until: int | None) -> Row:
    distance = 1 - member.score
    return (
        *(member.cluster_id, image_id, pet_id, member.number, member.score, distance, member.since),
        *(until, member.metadata),
    )


def _hero_row(pet_id: str, number: int, image_id: str, hero: _Hero, until: int | None) -> Row:
    return (
        *(hero.cluster_id, image_id, pet_id, number, hero.rank, hero.score, hero.since, until),
        *(hero.selected_at, hero.parts),
    )


def _summary_row(pet_id: str, number: int, summary: _Summary, until: int | None, merged_into: int | None) -> Row:
    return (
        *(pet_id, number, summary.since, until, summary.label, summary.member_count, summary.tightness),
        *(merged_into, summary.split_from),
    )


def all_rows(changes: Sequence[Change]) -> dict[str, list[Row]]:
    """The rows of some pets' whole histories; of what came before a pet's last purge there are none."""
    bulk = BulkRows()
    purges = {change.pet_id: number for number, change in enumerate(changes) if isinstance(change, PetErased)}
    for number, change in enumerate(changes):
        if number < purges.get(change.pet_id, 0):
            continue
        if isinstance(change, PetErased):
            bulk.erase(change)
        elif isinstance(change, DecisionSettled):
            bulk.settle(change)
        else:
            bulk.apply(change)
    rows = bulk.take()
    for table, row in bulk.holding():
        rows[table].append(row)
    return rows
