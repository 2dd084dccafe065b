"""Random logs of photos, decisions and recomputes, folded as they are made: users decide about what they see."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from projections.bulk_rows import BulkRows
from schemas.codec import decode_message
from schemas.decisions import DecisionSettled
from schemas.facts import (
    MIXTURE_POLICY,
    DecisionSubmitted,
    EmbeddedImage,
    ImagesRemoved,
    ModelPromoted,
    Policy,
    PolicyChanged,
    Quality,
    ReclusterRequested,
)
from schemas.topics import PARTITION_FACTS_KEY
from schemas.versions import PetVersion
from tables.replay import LogReplay
from tests.albums import DIMENSION, MODEL, Directions, embedded, image
from tests.unit.test_fold import Entry, entry

PET = "pet_1"
KINDS = ("rename", "pin_hero", "merge", "split", "not_here", "together", "remove_images", "undo")


@dataclass
class Album:
    """An album that grows event by event. `rows`: what the projections have; `settled`: what became of decisions."""

    policy: Policy = MIXTURE_POLICY
    pet: str = PET
    log: list[Entry] = field(default_factory=list)
    replay: LogReplay = field(default_factory=lambda: LogReplay(0))
    versions: list[PetVersion] = field(default_factory=list)
    settled: list[DecisionSettled] = field(default_factory=list)
    rows: BulkRows = field(default_factory=BulkRows)

    def __post_init__(self) -> None:
        self.add(PolicyChanged(policy=self.policy), PARTITION_FACTS_KEY)

    def add(self, fact: object, key: str = "") -> DecisionSettled | None:
        """Fold one more fact; returns what became of it, for a decision."""
        self.log.append(entry(fact, key or self.pet))
        outputs = self.replay.apply(len(self.log) - 1, *self.log[-1])
        assert not self.replay.refused
        for output in outputs:
            if output.channel not in ("versions", "decisions"):
                continue
            message = decode_message(output.value)
            if isinstance(message, PetVersion):
                self.versions.append(message)
                self.rows.apply(message)
            elif isinstance(message, DecisionSettled):
                self.settled.append(message)
                return message
        return None

    def photos(
        self, *photos: EmbeddedImage, force: bool = False, model: str = MODEL, labels: tuple[str, ...] = ()
    ) -> None:
        fact = embedded(list(photos), job_id=f"job_{len(self.log)}", force=force, labels=labels)
        self.add(msgspec.structs.replace(fact, model=model))

    def decide(self, kind: str, *, at: int = 0, as_id: str = "", **arguments: Any) -> DecisionSettled:
        """Submit a decision made at version `at`, the last one unless given."""
        fact = DecisionSubmitted(
            decision_id=as_id or f"d{len(self.log)}",
            kind=kind,
            expected_version=at or len(self.versions),
            arguments=arguments,
            who="ann",
            why="looks wrong",
        )
        settled = self.add(fact)
        assert settled is not None
        return settled

    def lies(self) -> dict[str, int]:
        """Image → cluster, by the projected rows."""
        return {row[1]: row[3] for table, row in self.rows.holding() if table == "cluster_members"}

    def summaries(self) -> dict[int, tuple[str, int, float]]:
        """Cluster → its label, how many images it has, and its tightness, by the projected rows."""
        return {row[1]: row[4:7] for table, row in self.rows.holding() if table == "cluster_summaries"}

    def clusters(self) -> dict[int, tuple[str, int]]:
        """Cluster → its label and how many images it has, by the projected rows."""
        return {number: (label, count) for number, (label, count, _) in self.summaries().items()}

    def heroes(self, number: int) -> list[str]:
        """A cluster's heroes, the first one first, by the projected rows."""
        rows = [row for table, row in self.rows.holding() if table == "cluster_heroes" and row[3] == number]
        return [row[1] for row in sorted(rows, key=lambda row: row[4])]


class RandomUser:
    """Adds random events to an album: photos of lookalike bursts, decisions about what is seen, recomputes."""

    def __init__(self, seed: int, pet: str = PET, **policy: Any) -> None:
        self.random = np.random.default_rng(seed)
        self.album = Album(pet=pet, policy=msgspec.structs.replace(MIXTURE_POLICY, **policy))
        directions = Directions(seed)
        homes = [directions.new() for _ in range(4)]
        self._directions = directions
        self._bursts = [directions.near(homes[int(self.random.integers(4))], 0.8) for _ in range(12)]
        self.made: list[EmbeddedImage] = []
        self.model = MODEL
        self.gone: set[str] = set()
        self._again: list[EmbeddedImage] = []  # not embedded by the model in force yet

    def photos(self, most: int = 6) -> list[EmbeddedImage]:
        found = []
        for _ in range(int(self.random.integers(1, most))):
            burst = np.frombuffer(self._bursts[int(self.random.integers(12))], dtype="<i2") / 4096
            spread = float(self.random.choice([0.1, 0.3, 0.6]))
            vector = self._directions.near(burst, spread)
            quality = Quality(*(float(part) for part in self.random.random(8)))
            found.append(msgspec.structs.replace(image(f"img_{len(self.made)}", vector), quality=quality))
            self.made.append(found[-1])
        return found

    def upload(self, *, force: bool = False) -> None:
        """New photos, and some of those that another model embeds once more; some come by a model that is not in force,
        and some are gone where they came from.
        """
        again, self._again = self._again[:4], self._again[4:]
        labels = (f"Label {self.random.integers(3)}",) if self.random.random() < 0.5 else ()
        self.album.photos(*self.photos(), *again, model=self.model, force=force, labels=labels)
        if self.random.random() < 0.05:
            early = self.photos()
            self._again += early
            self.album.photos(*early, model="early@1")
        if self.random.random() < 0.05:
            gone = tuple(self._some([each.image_id for each in self.made], 1, 3))
            self.album.add(ImagesRemoved(request_id=f"gone_{len(self.album.log)}", image_ids=gone))
            self.gone.update(gone)

    def recompute(self) -> None:
        """A recluster, a forced job, another policy with a recluster, or another model."""
        choice = int(self.random.integers(4))
        if choice == 0:
            self.upload(force=True)
            return
        if choice == 3:
            self.model = f"model@{len(self.album.log)}"
            self._again = list(self.made)
            self.album.add(ModelPromoted(model=self.model, dimension=DIMENSION), PARTITION_FACTS_KEY)
            return
        if choice == 1:
            join, merge = float(self.random.uniform(0.7, 0.9)), float(self.random.uniform(0.4, 0.7))
            changed = msgspec.structs.replace(
                self.album.policy, join=join, merge=merge, min_cluster_size=int(self.random.integers(2, 4))
            )
            self.album.add(PolicyChanged(policy=changed), PARTITION_FACTS_KEY)
        self.album.add(ReclusterRequested(request_id=f"again_{len(self.album.log)}"))

    def decide(self, kinds: tuple[str, ...] = KINDS) -> DecisionSettled | None:
        """A decision about what is there, which mostly can be accepted. None where there is nothing to decide about."""
        kind = str(self.random.choice(kinds))
        arguments = self._arguments(kind)
        if arguments is None:
            return None
        late = bool(self.random.random() < 0.2)
        at = max(1, len(self.album.versions) - (5 if late else 0))
        return self.album.decide(kind, at=at, **arguments)

    def _arguments(self, kind: str) -> dict[str, Any] | None:
        lies, clusters = self.album.lies(), sorted(self.album.clusters())
        images = sorted(lies)
        if kind == "undo":
            accepted = [each for each in self.album.settled if each.accepted and each.kind != "undo"]
            return {"decision_id": self._one(accepted).decision_id} if accepted else None
        if kind in ("together", "remove_images"):
            return {"image_ids": self._some(images, 2, 4)} if len(images) > 4 else None
        if not clusters:
            return None
        number = int(self._one(clusters))
        inside = [image_id for image_id in images if lies[image_id] == number]
        if kind == "rename":
            return {"cluster": number, "name": f"Name {self.random.integers(5)}"}
        if kind == "pin_hero":
            return {"cluster": number, "image_id": str(self._one(inside))}
        if kind == "not_here":
            return {"cluster": number, "image_ids": self._some(inside, 1, 2)}
        if kind == "split":
            in_two = len(inside) < 3 or self.random.random() < 0.3
            return {"cluster": number} if in_two else {"cluster": number, "image_ids": self._some(inside, 1, 3)}
        return {"clusters": [int(each) for each in self._some(clusters, 2, 3)]} if len(clusters) > 2 else None

    def _one(self, values: list[Any]) -> Any:
        return values[int(self.random.integers(len(values)))]

    def _some(self, values: list[Any], least: int, most: int) -> list[Any]:
        number = min(len(values), int(self.random.integers(least, most + 1)))
        return [values[int(row)] for row in sorted(self.random.choice(len(values), number, replace=False))]
