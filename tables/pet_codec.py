"""A pet to its rows and back. Pure; used by tables.store.

The caller says where the newest row of each component stands and gives the rows; see tables.rows for the layout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tables.mixture import ComponentSums, Mixture
from tables.pet import Group, Pet
from tables.rows import (
    RULES,
    ComponentRow,
    DecidedComponentRow,
    DecidedRow,
    DecidedState,
    GroupedRow,
    GroupedState,
    PetState,
    PurgedState,
    Segment,
    erased_of,
    is_grouped,
    looks_of,
    plain_group,
    taken_of,
    undone_of,
)
from tables.vectors import decode_sum, encode_sum


def component_rows(pet: Pet, components: Iterable[int]) -> list[ComponentRow]:
    """The rows of these components, lowest id first."""
    rows: list[ComponentRow] = []
    for component in sorted(components):
        sums, group = pet.mixture.sums(component), pet.groups[component]
        fields = (
            component,
            sums.count,
            sums.weight,
            encode_sum(sums.total),
            group.number,
            group.members,
            group.heroes,
            group.votes,
            group.waiting,
        )
        if group.taken is not None:
            rows.append(DecidedComponentRow(*fields, group.looks, group.taken))
        else:
            rows.append(GroupedRow(*fields, group.looks) if pet.grouped else ComponentRow(*fields))
    return rows


def state_of(pet: Pet, offsets: dict[int, int], segments: list[int], tail: Segment) -> PetState:
    """The part of the head that is a function of the log. `offsets`: component → offset of its newest row."""
    fields = (
        pet.version,
        pet.last_offset,
        pet.version_offset,
        pet.next_component,
        pet.next_cluster,
        pet.image_count,
        pet.unclustered_count,
        pet.mixture.dimension,
        pet.models,
        pet.model,
        pet.coverage,
        pet.quality_score,
        pet.aliases,
        pet.jobs,
        sorted(offsets.items()),
        segments,
        tail,
    )
    if pet.undone:
        return DecidedState(*fields, pet.erased, pet.grouped, pet.undone)
    if pet.grouped:
        return GroupedState(*fields, pet.erased, pet.grouped)
    return PetState(*fields) if pet.erased is None else PurgedState(*fields, pet.erased)


def pet_of(
    pet_id: str, state: PetState, event_row: Callable[[int], DecidedRow], segment: Callable[[int], Segment]
) -> Pet:
    """Decode a pet: reads each referenced event row once, and every segment."""
    pet = Pet(
        pet_id,
        Mixture(state.dimension, len(state.components) + 1),
        version=state.version,
        last_offset=state.last_offset,
        version_offset=state.version_offset,
        next_component=state.next_component,
        next_cluster=state.next_cluster,
        image_count=state.image_count,
        unclustered_count=state.unclustered_count,
        models=state.models,
        model=state.model,
        coverage=state.coverage,
        quality_score=state.quality_score,
        aliases=state.aliases,
        jobs=state.jobs,
        erased=erased_of(state),
        grouped=is_grouped(state),
        undone=undone_of(state),
    )
    rows = {offset: event_row(offset) for offset in {offset for _, offset in state.components}}
    for component, offset in state.components:
        if component == RULES:
            pet.rules = rows[offset].rules
            continue
        found = next(row for row in rows[offset].components if row.component == component)
        total = decode_sum(found.total, state.dimension)
        pet.mixture.restore(ComponentSums(component, found.count, found.weight, total))
        heroes, waiting = (list(found.heroes), list(found.waiting)) if pet.grouped else plain_group(found)
        pet.groups[component] = Group(
            found.number, list(found.members), heroes, dict(found.votes), waiting, looks_of(found), taken_of(found)
        )
        pet.clusters.put(component, found.number)
    for part in [*map(segment, state.segments), state.tail]:
        pet.folded.update((model, image_id) for model, image_ids in part.images for image_id in image_ids)
        pet.ended.update(part.jobs)
    if state.version_offset >= 0:
        outputs = (rows.get(state.version_offset) or event_row(state.version_offset)).outputs
        pet.snapshot = next(output.value for output in outputs if output.channel == "updated")
    return pet
