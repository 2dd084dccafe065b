"""Keeps Faust from reading the environment, so that app.settings is what reads it. Used wherever a Faust app is made.

Faust reads it twice: FAUST_* and F_* when its modules are imported, and for each app a variable a setting, such as
WEB_PORT or BROKER_REQUEST_TIMEOUT, ahead of what the code says. Values that are not valid end in tracebacks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

_PREFIXES: Final = ("FAUST_", "F_")

NO_ENVIRONMENT: Final[Mapping[str, str]] = {}
"""The argument `env` of every Faust app."""


@contextmanager
def hidden_from_imports() -> Iterator[None]:
    """Take Faust's own variables out of this process's environment for as long as the block imports it."""
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith(_PREFIXES)}
    try:
        yield
    finally:
        os.environ.update(hidden)
