"""What every fault is: something that is done to the stack, and undone. Subclassed by the families."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from tests.faults.schedule import Kind
from tests.faults.stack import Stack


class NotNow(Exception):
    """The fault cannot strike at this moment: what it would strike is away already."""


@dataclass
class Fault(ABC):
    """One strike. `target`: what of the lane it strikes (a role), where a family has several."""

    target: str
    rng: random.Random

    family: ClassVar[str]

    @abstractmethod
    async def inject(self, stack: Stack) -> None:
        """Do it. Returns when it is done, not when it has had its effect. Raises NotNow."""

    async def heal(self, stack: Stack) -> None:  # noqa: B027 - most need none
        """Undo it; nothing for what the supervisor mends by itself."""

    @classmethod
    def unavailable(cls, stack: Stack) -> str:
        """Why this machine cannot do it; empty when it can."""
        return ""


@dataclass(frozen=True)
class Named:
    """An entry of the registry: the schedule's view of a fault, and how to make one."""

    kind: Kind
    make: type[Fault]
    target: str
