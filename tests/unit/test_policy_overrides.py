"""Fields of a policy from the command line: what is taken, what is refused by name, and what they are put over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec
import pytest

from app.commands.what_if import checked
from app.policy.overrides import Overrides, differing, parse
from schemas.codec import decode_fact, encode_fact
from schemas.errors import InvalidInput
from schemas.facts import MIXTURE_POLICY, Fact, ModelPromoted, Policy, PolicyChanged

FILES = {
    "a.json": b'{"join": 0.7, "min_cluster_size": 3}',
    "list.json": b"[1]",
    "broken.json": b'{"join": ',
    "text.json": b'{"join": "0.7"}',
    "yes.json": b'{"max_components": true}',
}


def parsed(*given: str) -> dict[str, Any]:
    return dict(parse(given, FILES.__getitem__).fields)


def fact_of(fact: Fact) -> bytes:
    return encode_fact(fact, event_id="event-1", time="2026-11-21T00:00:00.000000+00:00", pet_id="")


def test_fields_and_files_are_taken_in_their_order() -> None:
    assert parsed("join=0.8", "a.json", "max_components=64") == {
        "join": 0.7,
        "min_cluster_size": 3,
        "max_components": 64,
    }
    assert parsed("a.json", "join=1") == {"join": 1.0, "min_cluster_size": 3}
    assert parsed("engine=leader-merge", "policy_id=try=1") == {"engine": "leader-merge", "policy_id": "try=1"}


@pytest.mark.parametrize(
    ("given", "field", "reason"),
    [
        ("jion=0.8", "jion", "is no field of a policy; they are policy_id, engine"),
        ("join=much", "join", "must be a number, got 'much'"),
        ("join=nan", "join", "must be finite"),
        ("merge=65", "merge", "must be a cosine above 0, at most 1, got 65"),
        ("min_cluster_size=2.5", "min_cluster_size", "must be a whole number, got '2.5'"),
        ("min_cluster_size=0", "min_cluster_size", "must be 1 to"),
        ("engine=magic", "engine", "'magic' is not known to this release; it has mixture, leader-merge"),
        ("list.json", "list.json", "is no JSON object"),
        ("broken.json", "broken.json", "is no JSON object"),
        ("text.json", "join", "must be a number, got '0.7'"),
        ("yes.json", "max_components", "must be a whole number, got True"),
    ],
)
def test_what_no_policy_has_is_refused_by_name(given: str, field: str, reason: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parsed(given)
    assert refused.value.field == field
    assert refused.value.reason.startswith(reason)


def test_an_engines_version_that_this_release_lacks_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"engine_version: engine mixture 9 is not known to this release"):
        parsed("engine=mixture", "engine_version=9")


def test_fields_are_put_over_a_policy_and_the_rest_stays() -> None:
    policy = Policy(policy_id="mine", min_cluster_size=4)
    changed = Overrides({"join": 0.5}).over(policy)
    assert differing(policy, changed) == {"join": (0.65, 0.5)}


def test_another_engine_comes_with_its_own_thresholds_unless_they_are_given() -> None:
    policy = Policy(policy_id="mine", min_cluster_size=4, max_cluster_size=9)
    changed = Overrides({"engine": "mixture", "merge": 0.6}).over(policy)
    assert changed == msgspec.structs.replace(
        MIXTURE_POLICY, policy_id="mine", min_cluster_size=4, max_cluster_size=9, merge=0.6
    )
    assert Overrides({"engine": "leader-merge"}).over(Policy(join=0.7)).join == 0.7, "it is the same engine"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"policy": ("merge=1.5",)}, "--policy: merge: must be a cosine above 0, at most 1, got 1.5"),
        ({"policy": ("mixture",)}, "--policy: mixture is neither NAME=VALUE nor a file: No such file"),
        ({"policy": ("policy.json",)}, "--policy: mergee: is no field of a policy"),
        ({"pets": ("pet-0",)}, "--policy is needed"),
        ({"policy": ("merge=0.5",), "pets": ("p/1",)}, "--pet: must be 1-128 characters"),
        ({"policy": ("merge=0.5",), "pets": ("p",), "sample": 2}, "--pet and --sample do not go together"),
    ],
)
def test_the_command_says_which_option_is_wrong(
    options: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "policy.json").write_text('{"mergee": 0.5}')
    monkeypatch.chdir(tmp_path)
    given: dict[str, Any] = {"policy": (), "pets": (), "sample": None, "processes": 0, "as_json": False, "page": None}
    with pytest.raises(click.UsageError) as refused:
        checked(given | options)
    assert refused.value.message.startswith(said)


def test_facts_that_record_a_policy_have_the_fields_and_others_are_as_they_were() -> None:
    overrides = Overrides({"join": 0.5})
    raw = fact_of(PolicyChanged(policy=MIXTURE_POLICY))
    before, after = decode_fact(raw), decode_fact(overrides.over_fact(raw) or b"")
    assert after[1] == PolicyChanged(policy=msgspec.structs.replace(MIXTURE_POLICY, join=0.5))
    assert (after[0].event_id, after[0].time) == (before[0].event_id, before[0].time)
    refused = fact_of(PolicyChanged(policy=Policy(min_cluster_size=0)))
    for other in (fact_of(ModelPromoted(model="m@1", dimension=4)), refused, b"no fact", None):
        assert overrides.over_fact(other) == other
