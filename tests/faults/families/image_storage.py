"""The image storage answers 503, slowly, with half an image, or not at all."""

from __future__ import annotations

from typing import ClassVar, Final

from tests.faults.fault import Fault
from tests.faults.stack import Stack
from tests.faults.storage import Mood

MOODS: Final[dict[str, Mood]] = {"503": "unavailable", "slow": "slow", "truncated": "truncating"}


class StorageMood(Fault):
    """`target`: how it answers, a key of `MOODS`."""

    family: ClassVar[str] = "storage"

    async def inject(self, stack: Stack) -> None:
        """From now on."""
        stack.storage.mood = MOODS[self.target]

    async def heal(self, stack: Stack) -> None:
        """Well again."""
        stack.storage.mood = "well"


class StorageAway(Fault):
    """Nobody listens."""

    family: ClassVar[str] = "storage_away"

    async def inject(self, stack: Stack) -> None:
        """Close."""
        await stack.storage.close()

    async def heal(self, stack: Stack) -> None:
        """Open again."""
        await stack.storage.open()
