"""Which pets are samples that `python -m app seed` has written: rows without facts. Used by it and by `verify`."""

from __future__ import annotations

import re
from typing import Any, Final

from projections.queries import load

MODEL: Final = "made-up@1"
_NAME: Final = re.compile(r"seed-pet-[1-9][0-9]*")


def pet_name(number: int) -> str:
    """The id of a sample pet."""
    return f"seed-pet-{number}"


async def is_made_up(connection: Any, pet_id: str) -> bool:
    """Whether name and last version are a sample's. A pet of the log is none, whatever it is called."""
    return bool(_NAME.fullmatch(pet_id)) and await connection.fetchval(load("read_last_model"), pet_id) == MODEL
