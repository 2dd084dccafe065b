"""Fields that are put over a policy: over every one of a log by `app.whatif`, over the one in force by `app.policy`.

Pure. What the one takes the other takes, so that what was tried is what is set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from app.settings import ENGINE_POLICIES
from schemas.codec import decode_fact, encode_fact
from schemas.errors import DeadLetter, InvalidInput, StopProcess
from schemas.fact_checks import check_fact
from schemas.facts import Policy, PolicyChanged
from tables.engines import engine_of

_TYPES: Final = {each.name: each.type for each in msgspec.structs.fields(Policy)}
_WORDS: Final = {str: "a text", int: "a whole number", float: "a number"}
_COSINES: Final = ("join", "merge")
_OF_AN_ENGINE: Final = ("engine_version", "join", "merge", "max_components")
_SHOWN: Final = 60
_PREFIX: Final = "policy."


@dataclass(frozen=True, slots=True)
class Overrides:
    """Field of `Policy` → the value that it has instead."""

    fields: Mapping[str, Any] = field(default_factory=dict)

    def over(self, policy: Policy) -> Policy:
        """The policy with these fields.

        Where they name another engine, what only makes sense with an engine (version, thresholds, bound of components)
        is that engine's own, as new deployments get it, unless given: 0.56 is a good `merge` for one of them alone.
        """
        engine = self.fields.get("engine", policy.engine)
        own = ENGINE_POLICIES[engine] if engine != policy.engine else policy
        return msgspec.structs.replace(
            policy, **{**{name: getattr(own, name) for name in _OF_AN_ENGINE}, **self.fields}
        )

    def over_fact(self, value: bytes | None) -> bytes | None:
        """A record about a whole partition; if it is a `PolicyChanged`, with these fields.

        What the fold refuses stays as it is, to be refused again.
        """
        try:
            envelope, fact = decode_fact(value or b"")
            check_fact(fact)
        except DeadLetter:
            return value
        if not isinstance(fact, PolicyChanged):
            return value
        changed = PolicyChanged(policy=self.over(fact.policy))
        return encode_fact(changed, event_id=envelope.event_id, time=envelope.time, pet_id=envelope.pet_id)


def parse(given: Iterable[str], read: Callable[[str], bytes]) -> Overrides:
    """Of NAME=VALUE[,NAME=VALUE...] and of JSON files, which `read` reads; what comes later stands.

    Raises InvalidInput naming the field, or the file; OSError of `read` passes.
    """
    fields: dict[str, Any] = {}
    for text in given:
        if "=" in text:
            fields |= dict(map(_pair, text.split(",")))
        else:
            fields |= {name: _value(name, value, strict=True) for name, value in _object(text, read(text)).items()}
    found = Overrides(fields)
    _check(found)
    return found


def differing(today: Policy, what_if: Policy) -> dict[str, tuple[Any, Any]]:
    """Field → its two values, of those that differ."""
    pairs = {name: (getattr(today, name), getattr(what_if, name)) for name in _TYPES}
    return {name: (old, new) for name, (old, new) in pairs.items() if old != new}


def _pair(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    if not separator:
        raise InvalidInput(text[:_SHOWN], "is no NAME=VALUE")
    return name, _value(name, value, strict=False)


def _object(name: str, data: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(name, f"is no JSON object: {error}") from None


def _value(name: str, value: object, *, strict: bool) -> Any:
    """`strict`: as JSON has types; else it is a text."""
    kind = _TYPES.get(name)
    if kind is None:
        raise InvalidInput(name[:_SHOWN], f"is no field of a policy; they are {', '.join(_TYPES)}")
    try:
        return msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError:
        raise InvalidInput(name, f"must be {_WORDS[kind]}, got {repr(value)[:_SHOWN]}") from None


def _check(given: Overrides) -> None:
    """Raises InvalidInput for a value that no policy has."""
    fields = given.fields
    if "engine" in fields and fields["engine"] not in ENGINE_POLICIES:
        known = ", ".join(ENGINE_POLICIES)
        raise InvalidInput("engine", f"{fields['engine'][:_SHOWN]!r} is not known to this release; it has {known}")
    policy = given.over(Policy())
    try:
        check_fact(PolicyChanged(policy=policy))
    except InvalidInput as error:
        raise InvalidInput(error.field.removeprefix(_PREFIX), error.reason) from None
    for name in _COSINES:
        if not 0 < getattr(policy, name) <= 1:
            raise InvalidInput(name, f"must be a cosine above 0, at most 1, got {getattr(policy, name):g}")
    if "engine" in fields and "engine_version" in fields:
        try:
            engine_of(policy)
        except StopProcess as error:
            raise InvalidInput("engine_version", str(error)) from None
