"""A pet's answer of either service, as far as it can be compared: decoding, and nothing else. Pure.

Called by `app.compare.sources`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from schemas.answers import ClusterAnswer


@dataclass(frozen=True, kw_only=True)
class Album:
    """`clusters`: id → its photos; `heroes`: id → representative photos, first the hero; `loose`: photos in none."""

    clusters: Mapping[str, tuple[str, ...]]
    heroes: Mapping[str, tuple[str, ...]]
    loose: tuple[str, ...] = ()
    updated_at: str = ""

    def places(self) -> dict[str, str]:
        """Photo → cluster id; a loose photo is a cluster of its own. A photo that is listed twice counts where it first
        stands.
        """
        found = {photo: f"alone/{photo}" for photo in self.loose}  # no cluster id holds a slash
        for cluster, photos in reversed(list(self.clusters.items())):
            found.update(dict.fromkeys(photos, cluster))
        return found


class _Member(msgspec.Struct):
    image_id: str


class _Cluster(msgspec.Struct):
    id: str
    members: list[_Member]
    hero_image_id: str | None = None


class _State(msgspec.Struct):
    """What the predecessor's API and its Redis both hold; more fields are passed over."""

    pet_id: str
    clusters: list[_Cluster]
    updated_at: str = ""
    generation: int | None = None


_state = msgspec.json.Decoder(_State)
_answer = msgspec.json.Decoder(ClusterAnswer)


def predecessor_album(body: bytes, pet_id: str) -> Album:
    """Its answer. Raises ValueError when it is none, is another pet's, or is one of this service."""
    state = _state.decode(body)
    _same_pet(state.pet_id, pet_id)
    if state.generation is not None:
        raise ValueError("this is an answer of this service, not of the predecessor")
    return Album(
        clusters={cluster.id: tuple(member.image_id for member in cluster.members) for cluster in state.clusters},
        heroes={cluster.id: (cluster.hero_image_id,) for cluster in state.clusters if cluster.hero_image_id},
        updated_at=state.updated_at,
    )


def own_answer(body: bytes, pet_id: str) -> ClusterAnswer:
    """Ours. Raises ValueError when it is none, or is another pet's."""
    answer = _answer.decode(body)
    _same_pet(answer.pet_id, pet_id)
    return answer


def own_album(answer: ClusterAnswer, more: Mapping[str, tuple[str, ...]], loose: tuple[str, ...] | None) -> Album:
    """Ours, whole. `more`: all photos of clusters of which the answer lists some only; `loose`: of those in none."""
    return Album(
        clusters={
            each.id: more.get(each.id) or tuple(member.image_id for member in each.members) for each in answer.clusters
        },
        heroes={each.id: tuple(hero.image_id for hero in each.heroes) for each in answer.clusters},
        loose=answer.unclustered if loose is None else loose,
        updated_at=answer.updated_at,
    )


def _same_pet(found: str, asked: str) -> None:
    if found != asked:
        raise ValueError(f"answers about another pet: {found[:128]!r}")
