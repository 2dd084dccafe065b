"""Writes docs/configuration.md from `app.settings`; a test compares the committed file with `render()`.

Run `.venv/bin/python -m app.commands.settings_table` after changing a setting.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from app.settings import Settings

DOCUMENT: Final = Path("docs/configuration.md")

_INTRODUCTION: Final = """\
# Configuration

Every setting is an environment variable. Names are case-insensitive. A `.env` file in the working directory is read
too; the environment comes first, and unknown keys in the file are ignored. An empty value counts as unset. A value that
is not valid stops the start with exit code 2 and one line that names the variable and the reason.

This page is made from `app/settings.py` by `.venv/bin/python -m app.commands.settings_table`.

| variable | default | meaning |
|---|---|---|
"""


def render() -> str:
    """The text of docs/configuration.md."""
    rows = (
        f"| `{name.upper()}` | {_default(field)} | {_meaning(field)} |" for name, field in Settings.model_fields.items()
    )
    return _INTRODUCTION + "\n".join(rows) + "\n"


def main() -> None:
    """Write the document."""
    DOCUMENT.write_text(render(), encoding="utf-8")


def _default(field: FieldInfo) -> str:
    value: Any = field.default
    if value is PydanticUndefined:
        return "see meaning"
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        value = ",".join(f"{part:g}" if isinstance(part, float) else str(part) for part in value)
    return "unset" if value in (None, "") else f"`{value}`"


def _meaning(field: FieldInfo) -> str:
    return " ".join((field.description or "").split()).replace("|", "\\|")


if __name__ == "__main__":
    main()
