"""Whatever photos, decisions and recomputes come in whatever order, no decision that holds is ever violated."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest

from schemas.codec import decode_fact
from schemas.decisions import DecisionSettled
from schemas.ids import UNCLUSTERED
from tables.faces import faces_of
from tables.pet import HEROES_SHOWN, Pet
from tables.pet_codec import component_rows
from tables.replay import LogReplay
from tables.rows import DecidedComponentRow
from tables.rules import Rules
from tables.shown import view_of
from tests.albums import MODEL
from tests.decided_albums import KINDS, PET, Album, RandomUser
from tests.unit.test_fold import Entry

SEEDS = range(24)
EVENTS = 60


class Oracle:
    """Knows decisions by their arguments and what was seen when they were made, and nothing of the fold."""

    def __init__(self, album: Album) -> None:
        self.album = album
        self.holding: dict[str, tuple[str, dict[str, Any], set[str]]] = {}  # kind, arguments, images it is about
        self.numbers: dict[str, int] = {}

    def seen(self, before: dict[str, int]) -> None:
        """Take note of the last decision; `before`: what was shown when it was made."""
        settled = self.album.settled[-1]
        if not settled.accepted:
            assert settled.code
            assert settled.reason
            return
        if settled.kind == "undo":
            del self.holding[settled.undoes]
            return
        arguments = settled.arguments
        about = {*arguments.get("image_ids", ()), *filter(None, [arguments.get("image_id")])}
        if settled.kind == "together":  # what belongs together moves together
            for _, _, others in [each for each in self.holding.values() if each[0] == "together"] * 3:
                about |= others if about & others else set()
        if settled.kind in ("rename", "merge", "split"):
            clusters = arguments.get("clusters", [arguments.get("cluster")])
            about |= {image_id for image_id, number in before.items() if number in clusters}
        if settled.kind == "split" and "image_ids" not in arguments:
            after = self.album.lies()
            arguments = arguments | {"image_ids": [image for image in about if after[image] == settled.cluster]}
        self.holding[settled.decision_id] = (settled.kind, arguments, about)
        self.numbers[settled.decision_id] = settled.cluster

    def standing(self, number: int) -> int:
        for kind, arguments, _ in list(self.holding.values()) * 2:
            if kind == "merge" and number in arguments["clusters"][1:]:
                number = arguments["clusters"][0]
        return number

    def left_alone(self, decision_id: str) -> set[str]:
        """The images that a decision is about and no later one names."""
        later = list(self.holding)[list(self.holding).index(decision_id) + 1 :]
        _, _, about = self.holding[decision_id]
        return about.difference(*(self.holding[each][2] for each in later))

    def check(self) -> None:
        lies, clusters = self.album.lies(), self.album.clusters()
        for decision_id, (kind, arguments, about) in self.holding.items():
            if kind == "remove_images":
                assert lies.keys().isdisjoint(arguments["image_ids"])
            elif kind == "together":
                assert len({lies[each] for each in arguments["image_ids"] if each in lies}) <= 1
            elif kind == "not_here":
                number = self.standing(arguments["cluster"])
                assert all(lies.get(each, UNCLUSTERED) != number for each in arguments["image_ids"])
            elif kind == "split":
                apart = set(arguments["image_ids"])
                one, other = ({lies[each] for each in side if each in lies} for side in (apart, about - apart))
                assert not (one - {UNCLUSTERED}) & (other - {UNCLUSTERED})
            elif kind == "merge":
                left = {lies[each] for each in self.left_alone(decision_id) if each in lies}
                assert left <= {self.standing(arguments["clusters"][0])}
            elif kind == "rename":
                number = self.standing(arguments["cluster"])
                assert {lies[each] for each in self.left_alone(decision_id) if each in lies} <= {number}
                named = [each for each in self.holding.values() if each[0] == "rename"]
                names = [each[1]["name"] for each in named if each[1]["cluster"] == number]
                if number in clusters and names:
                    assert clusters[number][0] == names[-1]
            elif kind == "pin_hero":
                number = self.standing(arguments["cluster"])
                pins = [e[1]["image_id"] for e in self.holding.values() if e[0] == "pin_hero"]
                pins = [pin for pin in pins if lies.get(pin) == number]
                if lies.get(arguments["image_id"]) == number:
                    assert self.album.heroes(number)[0] in pins
        assert Counter(number for number in lies.values() if number >= 0) == {
            number: count for number, (_, count) in clusters.items()
        }
        self.check_against_fold(lies)

    def check_against_fold(self, lies: dict[str, int]) -> None:
        """The projected rows say what the fold shows."""
        pet = self.album.replay.store.pet(self.album.pet)
        view = view_of(pet)
        face = faces_of(pet, view.clusters)
        shown = {}
        for number in view.clusters.numbers():
            each = face(number)
            shown[number] = (each.label, each.member_count, each.tightness)
            assert self.album.heroes(number) == [hero.image_id for hero in each.heroes[:HEROES_SHOWN]]
            assert {member.image_id for member in each.members} <= {i for i, at in lies.items() if at == number}
            if self.album.versions[-1].model == MODEL:  # of what another model embeds once more fewer may be listed
                assert len(each.members) >= min(each.member_count, self.album.policy.max_cluster_size)
            assert each.members
        assert self.album.summaries() == shown
        last = self.album.versions[-1]
        assert last.image_count == len(lies)
        assert last.unclustered_count == sum(number < 0 for number in lies.values())
        assert last.cluster_count == len(shown)
        assert all(self.album.heroes(number) for number in shown)


def random_event(user: RandomUser, oracle: Oracle) -> None:
    chance = user.random.random()
    if chance < 0.5:
        user.upload()
    elif chance < 0.9:
        before = user.album.lies()
        if user.decide() is not None:
            oracle.seen(before)
    else:
        user.recompute()


POLICIES: tuple[dict[str, Any], ...] = ({}, {"max_components": 9}, {"max_cluster_size": 3}, {"min_cluster_size": 3})


@pytest.mark.parametrize("seed", SEEDS)
def test_no_decision_is_ever_violated(seed: int) -> None:
    user = RandomUser(seed, **POLICIES[seed % 4])
    oracle = Oracle(user.album)
    user.upload()
    for _ in range(EVENTS):
        random_event(user, oracle)
        oracle.check()
        assert user.gone.isdisjoint(user.album.lies())
    again = LogReplay(0)
    for offset, each in enumerate(user.album.log):
        again = LogReplay(0, rows=again.rows)
        again.apply(offset, *each)
    assert again.digest() == user.album.replay.digest(), "a pet read from its rows is as one that was kept"


def test_the_random_users_decide_much_and_are_refused_for_every_reason() -> None:
    accepted, refused = Counter[str](), Counter[str]()
    for seed in SEEDS:
        user = RandomUser(seed)
        oracle = Oracle(user.album)
        user.upload()
        for _ in range(EVENTS):
            random_event(user, oracle)
        accepted.update(each.kind for each in user.album.settled if each.accepted)
        refused.update(each.code for each in user.album.settled if not each.accepted)
    assert min(accepted.values()) >= 5, accepted
    assert len(accepted) == 8
    assert refused.keys() >= {"moved_on", "conflict", "not_found"}


def state(pet: Pet) -> bytes:
    """The bytes of all that is kept of a pet's album. Cluster numbers, which are never given twice, by their rank,
    those that decisions have given by theirs; versions, which are always counted on, not at all.
    """
    numbers = sorted({group.number for group in pet.groups.values()})
    begun = [decision.cluster for decision in pet.rules.decisions if decision.begun] if pet.rules else []
    rank = {number: 1_000 + place for place, number in enumerate(begun)}
    rows = []
    for row in component_rows(pet, pet.groups):
        row = msgspec.structs.replace(row, number=numbers.index(row.number))
        if isinstance(row, DecidedComponentRow) and row.taken is not None:
            by = {rank.get(number, number): count for number, count in sorted(row.taken.by.items())}
            # What is listed of its other images has the scores of when it was counted.
            row = msgspec.structs.replace(row, taken=msgspec.structs.replace(row.taken, by=by, members=(), heroes=()))
        rows.append(row)
    rules = pet.rules and _ranked(pet.rules, rank)
    return msgspec.msgpack.encode((rows, pet.image_count, pet.unclustered_count, rules, sorted(pet.folded)))


def _ranked(rules: Rules, rank: dict[int, int]) -> Rules:
    def of(number: int) -> int:
        return rank.get(number, number)

    decisions = [
        msgspec.structs.replace(
            decision,
            version=0,
            cluster=of(decision.cluster),
            places=tuple((of(number), images) for number, images in decision.places),
            homes=tuple((component, of(number)) for component, number in decision.homes),
            ended=tuple(map(of, decision.ended)),
            sources=tuple(sorted(map(of, decision.sources))),
        )
        for decision in rules.decisions
    ]
    parts = dict(sorted((of(number), part) for number, part in rules.parts.items()))
    return msgspec.structs.replace(rules, decisions=tuple(decisions), parts=parts)


DECIDING = tuple(kind for kind in KINDS if kind != "undo")


@pytest.mark.parametrize("seed", SEEDS)
def test_undo_restores_the_bytes_of_the_state_without_it_whatever_came_later(seed: int) -> None:
    """Photos and recomputes among it: the mixture knows nothing of decisions."""
    user = RandomUser(seed)
    album = user.album
    for _ in range(8):
        user.upload()
    decided, at = user.decide(DECIDING), len(album.log) - 1
    assert decided is not None
    assert decided.accepted
    for _ in range(6):
        user.upload() if user.random.random() < 0.7 else user.recompute()
    replay = LogReplay(0)
    for offset, each in enumerate(album.log[:at] + album.log[at + 1 :]):
        replay.apply(offset, *each)
    without = state(replay.store.pet(PET))
    assert state(album.replay.store.pet(PET)) != without
    assert album.decide("undo", decision_id=decided.decision_id).accepted
    assert state(album.replay.store.pet(PET)) == without


@pytest.mark.parametrize("seed", SEEDS)
def test_undo_of_one_of_several_decisions_restores_the_bytes_of_the_state_without_it(seed: int) -> None:
    """Those that were made of what it had done are to be undone before; of the others nothing changes."""
    user = RandomUser(seed)
    album = user.album
    for _ in range(10):
        user.upload()
    photos = list(album.log)
    made: dict[str, DecisionSettled] = {}
    for _ in range(8):
        decided = user.decide(DECIDING)
        if decided is not None and decided.accepted:
            made[decided.decision_id] = decided
    undone, exact = 0, True
    while made:
        decision_id = list(made)[int(user.random.integers(len(made)))]
        before = state(album.replay.store.pet(PET))
        settled = album.decide("undo", decision_id=decision_id)
        if settled.accepted:
            undone += 1
            gone = made.pop(decision_id)
            # A removed photo comes back whatever was decided about the others meanwhile.
            exact &= gone.kind != "remove_images" or not made
            if exact:
                assert state(album.replay.store.pet(PET)) == decided_anew(photos, list(made.values()))
        else:
            assert settled.code == "conflict"
            assert state(album.replay.store.pet(PET)) == before
    assert undone >= 4


def decided_anew(photos: list[Entry], decisions: list[DecisionSettled]) -> bytes:
    """The state behind these photos and then these decisions, about the same clusters."""
    album, numbers = Album(), dict[int, int]()
    for key, value in photos[1:]:
        album.add(decode_fact(value)[1], key.decode())
    for each in decisions:
        arguments = dict(each.arguments)
        if "cluster" in arguments:
            arguments["cluster"] = numbers.get(arguments["cluster"], arguments["cluster"])
        if "clusters" in arguments:
            arguments["clusters"] = [numbers.get(number, number) for number in arguments["clusters"]]
        again = album.decide(each.kind, as_id=each.decision_id, **arguments)
        assert again.accepted, again
        numbers[each.cluster] = again.cluster
    return state(album.replay.store.pet(PET))
