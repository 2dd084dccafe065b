"""What `python -m app purge` was asked for. Made by `app.commands.purge`, done by `console`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Request:
    """The command line, parsed."""

    pet_id: str
    who: str
    why: str
    purge_id: str | None
    wait: bool
    check: bool
    even_unknown: bool
    as_json: bool
