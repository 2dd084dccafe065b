"""The wall clock of a role steps, as an administrator or a bad time server lets it, and steps back."""

from __future__ import annotations

from typing import ClassVar, Final

from tests.e2e.service import ROLES
from tests.faults.fault import Fault
from tests.faults.stack import Stack

STEPS: Final = (-86_400, -3_600, -5, 5, 3_600, 86_400)
"""Seconds."""


class ClockStep(Fault):
    """One role's clock at a time."""

    family: ClassVar[str] = "clock_step"

    @classmethod
    def unavailable(cls, stack: Stack) -> str:
        """Roles without a protection run on the machine's clock."""
        return "a control" if stack.service.off else ""

    async def inject(self, stack: Stack) -> None:
        """Forwards or backwards."""
        self._role = self.rng.choice(ROLES)
        stack.service.clocks.set(self._role, self.rng.choice(STEPS))

    async def heal(self, stack: Stack) -> None:
        """And back."""
        stack.service.clocks.set(self._role, 0)
