"""Folds a pet's whole album anew and keeps the cluster numbers that callers know. Pure; used by the fold.

Costs O(images · components · d): for facts that ask for it (a forced job, a recluster, a promoted model), never for a
photo that merely arrives.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from schemas.facts import Policy
from schemas.ids import UNCLUSTERED
from tables.changes import Changes, change_of
from tables.clusters import Clusters
from tables.mixture import Mixture
from tables.pet import Group, Pet, Rated, Waiting
from tables.placing import group_all, place
from tables.rows import UNFOLDED, ImageRow, PlacedImage, RatedImage


@dataclass
class Album:
    """All images of a pet in the order of their first arrival, read back from its image rows.

    `vectors`: newest image of the wanted model. `component`: where each image was put last, before merges, and `voted`:
    the labels that it voted for there.
    """

    model: int
    order: dict[str, PlacedImage] = field(default_factory=dict)
    vectors: dict[str, PlacedImage] = field(default_factory=dict)
    labels: dict[str, list[str]] = field(default_factory=dict)
    component: dict[str, int] = field(default_factory=dict)
    voted: dict[str, list[str]] = field(default_factory=dict)
    parents: dict[int, int] = field(default_factory=dict)

    def read(self, rows: Iterable[ImageRow]) -> Album:
        """Take rows in log order."""
        for row in rows:
            for image in row.images:
                self.order.setdefault(image.image_id, image)
                if row.own_label(image.image_id):  # the newest counts, as of vectors
                    self.labels[image.image_id] = row.labels_of(image.image_id)
                else:
                    self.labels.setdefault(image.image_id, row.labels)
                if row.model == self.model:
                    self.vectors[image.image_id] = image
                if image.component != UNFOLDED:
                    self.component[image.image_id] = image.component
                    self.voted[image.image_id] = row.labels_of(image.image_id)
            self.parents.update(row.merges)
            if row.recluster is not None:
                self.component, self.voted = dict(row.recluster), dict(self.labels)
        return self

    def where(self, image_id: str) -> int:
        """The component that an image lies in, after all merges; one that there is not for none."""
        component = self.component.get(image_id, UNFOLDED)
        while component in self.parents:
            component = self.parents[component]
        return component

    def number(self, image_id: str, groups: dict[int, Group]) -> int:
        """The cluster number that an image has had so far."""
        group = groups.get(self.where(image_id))
        return UNCLUSTERED if group is None else group.number


def recluster(pet: Pet, album: Album, policy: Policy) -> tuple[Changes, list[tuple[str, int]]]:
    """Fold `album` into a new mixture of `pet`, in place. Returns the changes and where each image lies now.

    A new component takes over the old number with which it shares most images, each number once; others get new
    numbers, and an old number that nobody takes over becomes an alias of the cluster that has most of its images.
    """
    before = {image_id: album.number(image_id, pet.groups) for image_id in album.order}
    old_numbers = {g.number for g in pet.groups.values()} - {UNCLUSTERED}
    aliases, first_number = pet.aliases, pet.next_cluster
    pet.groups, pet.aliases, pet.mixture, pet.clusters = {}, {}, Mixture(pet.mixture.dimension), Clusters()
    pet.image_count, pet.unclustered_count = len(album.order), 0
    scratch, placed = Changes(), {}
    width = next((len(image.vector) for image in album.vectors.values()), 0)
    for image_id, first in album.order.items():
        image = album.vectors.get(image_id)
        if image is None or len(image.vector) != width:  # no vector that fits this model: kept, in no cluster
            pet.unclustered_count += 1
            scratch.members[image_id] = change_of(waiting_image(first, pet.grouped), UNCLUSTERED, "reclustered")
            continue
        votes = dict.fromkeys(album.labels[image_id], 1)
        placed[image_id] = place(pet, scratch, waiting_image(image, pet.grouped), image.vector, votes, policy)[1]
    group_all(pet, scratch, policy)
    now = _resolve(placed, scratch)
    pet.aliases, pet.next_cluster = aliases, first_number
    renamed = _renumber(pet, now, before)
    changes = Changes(
        touched=set(pet.groups),
        reclustered=True,
        component_of=now,
        memberships=scratch.memberships,
        duplicates=scratch.duplicates,
    )
    for change in scratch.members.values():
        number, second = change.cluster, change.runner_up
        if pet.grouped:  # leader-merge 1 is frozen with the number that the runner-up had for the time being
            second = renamed.get(second, UNCLUSTERED)
        number = renamed.get(_follow(scratch.merged, number), UNCLUSTERED)
        changes.members[change.image_id] = msgspec.structs.replace(
            change, cluster=number, runner_up=second, rule="reclustered"
        )
    _retire(pet, changes, before, old_numbers - set(renamed.values()))
    return changes, list(now.items())


def waiting_image(image: PlacedImage, grouped: bool) -> Waiting:
    """What a component keeps of an image, from the image's row."""
    i = image
    waiting = Waiting(i.image_id, i.score, i.quality, i.phash, i.width, i.height, i.taken_at)
    if not grouped:
        return waiting
    parts = image.parts if isinstance(image, RatedImage) else ()
    return Rated(**msgspec.structs.asdict(waiting), parts=parts)


def _resolve(placed: dict[str, int], scratch: Changes) -> dict[str, int]:
    """Where each image lies after all merges."""
    parents = dict(scratch.merges)
    return {image_id: _follow(parents, component) for image_id, component in placed.items()}


def _follow(parents: dict[int, int], key: int) -> int:
    while key in parents:
        key = parents[key]
    return key


def _renumber(pet: Pet, now: dict[str, int], before: dict[str, int]) -> dict[int, int]:
    """Give the new clusters their old numbers back: largest overlap first, ties to the lowest number and component.

    Returns each cluster's new number by the one that it had until now.
    """
    clusters = pet.clusters
    overlap = Counter(
        (clusters.number(component), before[image_id])
        for image_id, component in now.items()
        if before[image_id] != UNCLUSTERED and clusters.number(component) != UNCLUSTERED
    )
    first = {number: clusters.components(number)[0] for number in clusters.numbers()}
    renamed: dict[int, int] = {}
    given: set[int] = set()
    for (new, old), _ in sorted(overlap.items(), key=lambda item: (-item[1], item[0][1], first[item[0][0]])):
        if new not in renamed and old not in given:
            renamed[new] = old
            given.add(old)
    for new in sorted(first, key=lambda number: first[number]):
        if new not in renamed:
            renamed[new] = pet.next_cluster
            pet.next_cluster += 1
    pet.clusters = Clusters()
    for component, group in pet.groups.items():
        if group.number != UNCLUSTERED:
            pet.assign(component, renamed[group.number])
    return renamed


def _retire(pet: Pet, changes: Changes, before: dict[str, int], ended: set[int]) -> None:
    """Alias each ended number to the cluster that has most of its images; without one it just ends."""
    for number in sorted(ended):
        heirs = Counter(
            changes.members[image_id].cluster
            for image_id, old in before.items()
            if old == number and changes.members[image_id].cluster != UNCLUSTERED
        )
        heir = min(heirs, key=lambda n: (-heirs[n], n)) if heirs else UNCLUSTERED
        changes.merged[number] = heir
        if heir != UNCLUSTERED:
            pet.end(number, heir)
