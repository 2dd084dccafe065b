"""A change of the policy: what it writes where, under which id, and what of it cannot be."""

from __future__ import annotations

from typing import Any

import click
import pytest
from msgspec.structs import replace

from app.commands.policy import checked
from app.policy.change import planned, request_id
from app.policy.in_force import InForce
from app.policy.overrides import Overrides, parse
from schemas.errors import InvalidInput
from schemas.facts import MIXTURE_POLICY, Policy

BEFORE = tuple(InForce(number, MIXTURE_POLICY, 0, "2026-11-21T00:00:00.000000+00:00") for number in range(3))
TRIED = Overrides({"join": 0.82, "merge": 0.58})


def after(found: tuple[InForce, ...], wanted: Overrides, *numbers: int) -> tuple[InForce, ...]:
    """The partitions when the change has come to these of them."""
    policy = planned(found, wanted).policy
    later = "2026-11-22T00:00:00.000000+00:00"
    return tuple(
        InForce(each.partition, policy, each.since + 10, later) if each.partition in numbers else each for each in found
    )


def test_fields_are_put_over_what_is_in_force_under_a_new_id() -> None:
    change = planned(BEFORE, TRIED)
    assert change.behind == BEFORE
    assert change.policy == replace(MIXTURE_POLICY, join=0.82, merge=0.58, policy_id=change.policy.policy_id)
    assert change.policy.policy_id.startswith("mixture-1-")
    assert change.fields() == {
        "policy_id": (["mixture-1"], change.policy.policy_id),
        "join": ([0.8], 0.82),
        "merge": ([0.56], 0.58),
    }
    assert planned(BEFORE, Overrides({"join": 0.82, "policy_id": "mine"})).policy.policy_id == "mine"


def test_a_repeat_finds_nothing_and_one_that_was_cut_off_is_completed() -> None:
    change = planned(BEFORE, TRIED)
    assert planned(after(BEFORE, TRIED, 0, 1, 2), TRIED).behind == ()
    for done in ((0,), (2,), (0, 2)):
        again = planned(after(BEFORE, TRIED, *done), TRIED)
        assert again.policy == change.policy
        assert [each.partition for each in again.behind] == [number for number in range(3) if number not in done]


def test_another_engine_brings_its_thresholds_on_partitions_that_have_it_already_too() -> None:
    wanted = Overrides({"engine": "leader-merge"})
    again = planned(after(BEFORE, wanted, 1), wanted)
    assert (again.policy.engine, again.policy.join) == ("leader-merge", Policy().join)
    assert [each.partition for each in again.behind] == [0, 2]


def test_what_is_set_back_is_a_policy_of_its_own() -> None:
    there = after(BEFORE, TRIED, 0, 1, 2)
    back = Overrides({"join": MIXTURE_POLICY.join, "merge": MIXTURE_POLICY.merge})
    once, twice = planned(there, back), planned(after(there, back, 0, 1, 2), TRIED)
    assert len({"mixture-1", there[0].policy.policy_id, once.policy.policy_id, twice.policy.policy_id}) == 4


def test_a_change_that_was_cut_off_can_be_taken_back() -> None:
    cut_off = after(BEFORE, TRIED, 1)
    change = planned(cut_off, Overrides({"join": 0.8, "merge": 0.56}))
    assert (change.policy, [each.partition for each in change.behind]) == (MIXTURE_POLICY, [1])
    (mended,) = (each for each in after(cut_off, Overrides({"join": 0.8, "merge": 0.56}), 1) if each.partition == 1)
    assert request_id("pet", mended, "") != request_id("pet", BEFORE[1], ""), "its pets may be folded anew once more"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"join": 0.9}, "merge: not the same on all partitions: say what it is to be everywhere"),
        ({"merge": 0.58, "engine_version": 9}, "engine_version: engine mixture 9 is not known to this release"),
        ({"merge": 0.7, "policy_id": "mixture-1"}, "policy_id: mixture-1 is the id of what is in force now"),
        ({"merge": 0.7, "policy_id": ""}, "policy_id: must not be empty"),
    ],
)
def test_what_cannot_be_is_refused_by_name(fields: dict[str, Any], said: str) -> None:
    apart = after(BEFORE, Overrides({"merge": 0.58}), 2)
    with pytest.raises(InvalidInput, match=said):
        planned(apart, Overrides(fields))


@pytest.mark.parametrize("given", ["join=0", "merge=-0.1", "merge=1.01", "join=nan", "engine=magic", "join=0.8,merge"])
def test_numbers_and_engines_that_cannot_be_are_refused(given: str) -> None:
    with pytest.raises(InvalidInput):
        parse([given], lambda name: b"")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"wanted": ("join=0",)}, "--set: join: must be a cosine above 0"),
        ({"wanted": ("join=0.8",), "as_json": True}, "--json asks nothing: --set needs --yes with it"),
        ({"pets": ("pet-1",)}, "--pet: goes with --recluster"),
        ({"recluster": True, "pets": ("pet/1",)}, "--pet: must be 1-128 characters"),
        ({"recluster": True, "pets": ("pet-1",), "after": "pet-0"}, "--pet and --after do not go together"),
    ],
)
def test_the_command_says_which_option_is_wrong(options: dict[str, Any], said: str) -> None:
    given: dict[str, Any] = {
        "wanted": (), "yes": False, "recluster": False, "pets": (), "rate": None, "run": None, "after": None,
        "as_json": False,
    }  # fmt: skip
    with pytest.raises(click.UsageError, match=said):
        checked(given | options)


def test_several_fields_stand_in_one_text() -> None:
    assert parse(["join=0.82,merge=0.58", "merge=0.6"], lambda name: b"").fields == {"join": 0.82, "merge": 0.6}


def test_a_request_is_named_by_pet_change_and_run() -> None:
    one, other = BEFORE[:2]
    found = {
        request_id("a", one, ""), request_id("b", one, ""), request_id("a", other, ""), request_id("a", one, "again"),
        request_id("a", replace_since(one), ""),
    }  # fmt: skip
    assert len(found) == 5
    assert request_id("a", one, "") in found


def replace_since(force: InForce) -> InForce:
    return InForce(force.partition, force.policy, force.since + 1, force.time)
