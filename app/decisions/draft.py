"""A decision as a caller words it, made ready for the log: clusters by their numbers. Pure; used by `desk`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from projections.decision_reader import DecisionRow
from projections.text import jsonb
from schemas.decisions import Arguments, parse_arguments
from schemas.errors import InvalidInput
from schemas.facts import DecisionSubmitted
from schemas.ids import cluster_number

FIELD: Final = "arguments"


@dataclass(frozen=True, slots=True)
class Draft:
    """A decision that may be submitted. `may_be_known`: its id is the caller's, who may have sent it before."""

    pet_id: str
    decision_id: str
    may_be_known: bool
    kind: str
    arguments: Arguments
    expected_version: int
    who: str
    why: str

    def fact(self) -> DecisionSubmitted:
        """What is written to the log."""
        return DecisionSubmitted(
            decision_id=self.decision_id,
            kind=self.kind,
            expected_version=self.expected_version,
            arguments=msgspec.to_builtins(self.arguments),
            who=self.who,
            why=self.why,
        )

    def is_same(self, row: DecisionRow) -> bool:
        """Whether the row is of a decision that decides the same; who sent it, and why, is not looked at."""
        kept = msgspec.json.decode(jsonb(self.arguments))
        try:
            same = parse(self.pet_id, row.kind, row.arguments) == parse_arguments(self.kind, kept)
        except InvalidInput:  # written by something else than this release, which takes no such arguments
            return False
        return same and (row.kind, row.expected_version) == (self.kind, self.expected_version)


def parse(pet_id: str, kind: str, arguments: Mapping[str, Any]) -> Arguments:
    """Arguments in which clusters have their public ids. Raises InvalidInput naming the field."""
    numbered = dict(arguments)
    if "cluster" in numbered:
        numbered["cluster"] = _number(pet_id, numbered["cluster"], f"{FIELD}.cluster")
    if isinstance(names := numbered.get("clusters"), list):
        numbered["clusters"] = [_number(pet_id, name, f"{FIELD}.clusters[{index}]") for index, name in enumerate(names)]
    return parse_arguments(kind, numbered, FIELD)


def _number(pet_id: str, name: object, field: str) -> int:
    number = cluster_number(pet_id, name) if isinstance(name, str) else None
    if number is None:
        raise InvalidInput(field, f"must be the id of a cluster of the pet, as {pet_id}-cluster-0")
    return number
