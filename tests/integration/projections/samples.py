"""Versions, jobs and a plain model of what the rows must say. Used by the tests of this folder."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from schemas.decisions import DecisionSettled
from schemas.headers import timestamp
from schemas.ids import UNCLUSTERED
from schemas.versions import ClusterChange, DecidedChange, DecidedVersion, Hero, MemberChange, PetVersion

START = datetime(2026, 11, 21, 7, 49, 24, 624049, tzinfo=UTC)


def member(image_id: str, cluster: int, score: float = 0.9, rule: str = "joined", **more: Any) -> MemberChange:
    return MemberChange(image_id, cluster, score, rule, **more)


def cluster(number: int, count: int, *heroes: str, label: str = "", merged_into: int = -1) -> ClusterChange:
    shown = tuple(Hero(image_id, 0.9 - rank / 10) for rank, image_id in enumerate(heroes))
    return ClusterChange(number, label or f"Cluster {number}", count, 0.8, shown, merged_into)


def version(
    pet_id: str,
    number: int,
    members: tuple[MemberChange, ...] = (),
    clusters: tuple[ClusterChange, ...] = (),
    **more: Any,
) -> PetVersion:
    values: dict[str, Any] = {
        "time": timestamp(START + timedelta(seconds=number)),
        "partition": 0,
        "offset": number,
        "job_id": f"job-{number}",
        "model": "effnet-lite0@1",
        "policy_id": "default-1",
        "max_cluster_size": 24,
        "cluster_count": len(clusters),
        "image_count": len(members),
        "unclustered_count": 0,
        **more,
    }
    return PetVersion(pet_id=pet_id, version=number, members=members, clusters=clusters, **values)


def decided_version(
    pet_id: str, number: int, members: tuple[DecidedChange, ...] = (), clusters: tuple[Any, ...] = (), **more: Any
) -> DecidedVersion:
    """A version that a user's decision made, or that came behind one."""
    plain = version(pet_id, number, **more)
    fields = {name: getattr(plain, name) for name in plain.__struct_fields__}
    return DecidedVersion(**fields | {"format": 5, "members": members, "clusters": clusters})


def settled(pet_id: str, decision_id: str, made: int, kind: str = "rename", **more: Any) -> DecisionSettled:
    """What became of a decision: accepted, and it made version `made`, unless `more` says otherwise."""
    values: dict[str, Any] = {
        "arguments": {"cluster": 0, "name": "Rex"},
        "expected_version": max(1, made - 1),
        "who": "ann",
        "why": "it is Rex",
        "time": timestamp(START + timedelta(seconds=made)),
        "partition": 0,
        "offset": made,
        "accepted": True,
        "cluster": 0,
        **more,
    }
    return DecisionSettled(pet_id=pet_id, decision_id=decision_id, kind=kind, version=made, **values)


@dataclass
class Album:
    """Draws versions of a pet at random, keeping track of where every image lies: the model that rows are held to."""

    pet_id: str
    seed: int
    where: dict[str, int] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    labels: dict[int, str] = field(default_factory=dict)
    number: int = 0
    images: int = 0
    next_cluster: int = 0

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def draw(self) -> PetVersion:
        """The next version: perhaps a merge, then new, moved and removed images, then the clusters that changed."""
        self.number += 1
        touched: set[int] = set()
        ended = self._merge(touched) if len(self.labels) > 2 and self.random.random() < 0.3 else []
        changes = [self._add(touched) for _ in range(self.random.randint(1, 4))]
        if len(self.where) > 6:
            changes += self._disturb(touched, {change.image_id for change in changes})
        clusters = [self._change(number) for number in sorted(touched & self.labels.keys())]
        return version(
            self.pet_id,
            self.number,
            tuple(changes),
            (*clusters, *ended),
            cluster_count=len(self.labels),
            image_count=len(self.where),
            unclustered_count=sum(place == UNCLUSTERED for place in self.where.values()),
            max_cluster_size=3,
            coverage={"portrait": self.number / 7},
            quality_score=0.1 * self.number,
        )

    def expected(self) -> dict[int, list[str]]:
        """Images by cluster, best score first, ids breaking ties."""
        clusters: dict[int, list[str]] = {}
        for image_id in sorted(self.where, key=lambda image: (-self.scores[image], image)):
            clusters.setdefault(self.where[image_id], []).append(image_id)
        return clusters

    def _merge(self, touched: set[int]) -> list[ClusterChange]:
        target, source = sorted(self.random.sample(sorted(self.labels), 2))
        for image_id, place in self.where.items():
            if place == source:
                self.where[image_id] = target
        del self.labels[source]
        touched.add(target)
        return [cluster(source, 0, merged_into=target)]

    def _add(self, touched: set[int]) -> MemberChange:
        self.images += 1
        return self._place(f"img-{self.images:04d}", touched)

    def _disturb(self, touched: set[int], fresh: set[str]) -> list[MemberChange]:
        moved, gone = self.random.sample(sorted(self.where.keys() - fresh), 2)
        touched.update({self.where[moved], self.where[gone]})
        change = self._place(moved, touched)
        del self.where[gone], self.scores[gone]
        return [change, MemberChange(gone, UNCLUSTERED, 0.0, "removed")]

    def _place(self, image_id: str, touched: set[int]) -> MemberChange:
        number = self.random.choice([UNCLUSTERED, self.next_cluster, *sorted(self.labels)])
        if number == self.next_cluster:
            self.next_cluster += 1
            self.labels[number] = f"Cluster {number}"
        touched.add(number)
        self.where[image_id] = number
        self.scores[image_id] = self.random.choice([0.7, 0.8, 0.9])
        return member(image_id, number, self.scores[image_id], quality=0.5, phash=2**64 - self.images)

    def _change(self, number: int) -> ClusterChange:
        members = self.expected().get(number, [])
        if not members:
            del self.labels[number]
        return cluster(number, len(members), *members[:2], label=self.labels.get(number, "gone"))


async def no_replay(pet_id: str, partition: int, after_version: int) -> AsyncGenerator[PetVersion, None]:
    """A log that holds nothing more."""
    nothing: tuple[PetVersion, ...] = ()
    for missing in nothing:
        yield missing


async def eventually(check: Callable[[], Awaitable[Any]], seconds: float = 30) -> Any:
    """Ask until the answer is truthy, and return it; fails after `seconds`."""
    async with asyncio.timeout(seconds):
        while True:
            if answer := await check():
                return answer
            await asyncio.sleep(0.01)


def as_json(value: Any) -> Any:
    """What a caller would parse."""
    return msgspec.json.decode(msgspec.json.encode(value))
