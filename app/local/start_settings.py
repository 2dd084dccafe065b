"""Remembers which settings the running service was started with, so that a later `make up` can tell what differs.

Called by app/local/stack.py. Values may be secrets, so only their digests are kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from app.local.private_file import write_private


class StartSettings:
    """The settings of the last start, in a JSON file: variable → SHA-256 of its text."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, settings: Mapping[str, str]) -> None:
        """Remember them."""
        write_private(self._path, json.dumps(_digests(settings)))

    def changed(self, settings: Mapping[str, str]) -> list[str]:
        """The variables that were given or not, or had another text, when the service was started."""
        before: dict[str, str] = json.loads(self._path.read_text()) if self._path.exists() else {}
        now = _digests(settings)
        return sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))


def _digests(settings: Mapping[str, str]) -> dict[str, str]:
    return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in settings.items()}
