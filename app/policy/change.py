"""What a change of the policy writes where. Pure. Used by `console`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from app.policy.in_force import InForce
from app.policy.overrides import Overrides, differing
from schemas.errors import InvalidInput, StopProcess
from schemas.facts import Policy
from schemas.ids import message_id
from tables.engines import engine_of

_DIGITS: Final = 12


@dataclass(frozen=True, slots=True)
class Change:
    """`policy`: what all partitions are to be folded by. `behind`: those that are not yet."""

    policy: Policy
    behind: tuple[InForce, ...]

    def fields(self) -> dict[str, tuple[list[Any], Any]]:
        """Field → the values that it has on partitions that are behind, and what it is to be."""
        found: dict[str, tuple[list[Any], Any]] = {}
        for each in self.behind:
            for name, (old, new) in differing(each.policy, self.policy).items():
                before = found.setdefault(name, ([], new))[0]
                if old not in before:
                    before.append(old)
        return found


def planned(found: Sequence[InForce], wanted: Overrides) -> Change:
    """The change that puts these fields over what is in force.

    A repeat finds nothing behind; one of a change that was cut off finds the partitions that it had not come to, and
    gives them the same policy under the same id. Raises InvalidInput naming the fields for a policy that cannot be.
    """
    changed = {_unnamed(wanted.over(each.policy)) for each in found}
    if len(changed) > 1:
        first, second, *_ = changed
        raise InvalidInput(
            ", ".join(differing(first, second)), "not the same on all partitions: say what it is to be everywhere"
        )
    (content,) = changed
    try:
        engine_of(content)
    except StopProcess as error:
        raise InvalidInput("engine_version", str(error)) from None
    policy = replace(content, policy_id=_policy_id(found, content, wanted.fields.get("policy_id")))
    return Change(policy, tuple(each for each in found if each.policy != policy))


def event_id(change: Change, behind: InForce, topic: str) -> str:
    """`ce_id` of the fact for one partition; one that is written twice has it twice."""
    return message_id("policy", topic, behind.partition, behind.since, change.policy.policy_id)


def request_id(pet_id: str, force: InForce, run: str) -> str:
    """Of the recluster that a pet gets under what is in force on its partition: always the same, so that the fold takes
    it once. `run`: a name that makes it another one, empty for none.
    """
    return "recluster-" + message_id(pet_id, force.policy.policy_id, force.partition, force.since, run)


def _policy_id(found: Sequence[InForce], content: Policy, given: str | None) -> str:
    there = [each for each in found if _unnamed(each.policy) == content]
    if given is not None:
        if not given:
            raise InvalidInput("policy_id", "must not be empty")
        if any(each.policy.policy_id == given for each in found if each not in there):
            raise InvalidInput(
                "policy_id", f"{given} is the id of what is in force now: a changed policy needs another"
            )
        return given
    if there:
        return max(there, key=lambda each: (each.time, each.partition)).policy.policy_id
    # With what was in force before: what is set back to what it was once is another policy in the course of time.
    cause = (sorted({each.policy.policy_id for each in found}), content)
    digest = hashlib.sha256(msgspec.json.encode(cause)).hexdigest()
    return f"{content.engine}-{content.engine_version}-{digest[:_DIGITS]}"


def _unnamed(policy: Policy) -> Policy:
    return replace(policy, policy_id="")
