"""Options of `python -m app rebuild` that do not go together are refused before anything is begun."""

from __future__ import annotations

from typing import Any

import click
import pytest

from app.commands.rebuild import _check
from schemas.errors import InvalidInput

PLAIN: dict[str, Any] = {"accepts": False, "pet_id": None, "start": None}


@pytest.mark.parametrize(
    ("projection", "verb", "options"),
    [
        *(("postgres", verb, {}) for verb in ("build", "swap", "rollback", "give-up", "dry-run")),
        *(("tables", verb, {}) for verb in ("build", "swap", "rollback", "give-up", "dry-run")),
        *(("tables", verb, {"accepts": True}) for verb in ("swap", "rollback")),
        *(("redis", verb, {}) for verb in ("build", "dry-run")),
        *(("postgres", verb, {"pet_id": "rex", "start": "3"}) for verb in ("build", "swap")),
        ("postgres", "build", {"start": "3"}),
        *(("postgres", "republish", options) for options in ({}, {"pet_id": "rex"})),
    ],
)
def test_what_goes_together(projection: str, verb: str, options: dict[str, Any]) -> None:
    _check(projection, verb, **(PLAIN | options))


@pytest.mark.parametrize(
    ("projection", "verb", "options", "reason"),
    [
        ("postgres", "swap", {"accepts": True}, "--accept-versions goes with --projection tables"),
        ("tables", "build", {"accepts": True}, "--accept-versions goes with --projection tables"),
        *(("redis", verb, {}, "--dry-run only") for verb in ("swap", "rollback", "give-up")),
        *(("postgres", verb, {"pet_id": "rex"}, "--pet goes with") for verb in ("rollback", "give-up", "dry-run")),
        *((name, "build", {"pet_id": "rex"}, "--pet goes with") for name in ("redis", "tables")),
        *(("postgres", verb, {"start": "3"}, "--from is given when") for verb in ("swap", "rollback", "dry-run")),
        *((name, "republish", {}, "--republish builds nothing") for name in ("redis", "tables")),
        ("postgres", "republish", {"pet_id": "rex", "start": "3"}, "--from is given when"),
        *((name, "build", {"start": "3"}, "--from is given when") for name in ("redis", "tables")),
    ],
)
def test_what_does_not(projection: str, verb: str, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(click.UsageError, match=reason):
        _check(projection, verb, **(PLAIN | options))


def test_a_pet_has_a_name_that_is_one() -> None:
    with pytest.raises(InvalidInput, match="--pet: "):
        _check("postgres", "build", **(PLAIN | {"pet_id": "a/b"}))
