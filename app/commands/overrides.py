"""Fields of a policy as an option gives them. Called by app/commands/policy.py and app/commands/what_if.py."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from schemas.errors import InvalidInput

if TYPE_CHECKING:
    from app.policy.overrides import Overrides


def overrides_of(option: str, given: Iterable[str]) -> Overrides:
    """Raises UsageError naming the option and the field."""
    from app.policy.overrides import parse

    try:
        return parse(given, lambda name: Path(name).read_bytes())
    except InvalidInput as error:
        raise click.UsageError(f"{option}: {error}") from None
    except OSError as error:
        raise click.UsageError(
            f"{option}: {error.filename} is neither NAME=VALUE nor a file: {error.strerror}"
        ) from None
