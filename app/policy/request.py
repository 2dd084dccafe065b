"""What `python -m app policy` was asked for. Made by `app.commands.policy`, done by `console`."""

from __future__ import annotations

from dataclasses import dataclass

from app.policy.overrides import Overrides


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The command line, parsed. `wanted`: None to change nothing. `pets`: to be folded anew, all if empty. `run`: a
    name that makes the reclusters other ones. `after`: only pets whose id comes behind it.
    """

    wanted: Overrides | None
    yes: bool
    recluster: bool
    pets: tuple[str, ...]
    rate: float
    run: str
    after: str
    as_json: bool
