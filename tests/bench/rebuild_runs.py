"""`python -m app rebuild` as an operator runs it, and when it said what. Used by the benchmark `scale`."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from tests.e2e.service import REPOSITORY, Service


@dataclass
class Steps:
    """`begun`, `ended`: monotonic; `at`: step → when it was first told; `told`: step → its last line."""

    begun: float
    ended: float = 0.0
    at: dict[str, float] = field(default_factory=dict)
    told: dict[str, dict[str, Any]] = field(default_factory=dict)

    def seconds(self, first: str, last: str) -> float:
        """From one step to the other."""
        return self.at[last] - self.at[first]


async def rebuild(service: Service, *options: str) -> Steps:
    """Run it to its end. Raises RuntimeError when it does not end with 0."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app", "rebuild", "--json", *options),
        env=service.env("rebuild"),
        cwd=REPOSITORY,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    steps = Steps(time.monotonic())
    errors = asyncio.create_task(process.stderr.read())
    async for line in process.stdout:
        told = json.loads(line)
        steps.at.setdefault(told["step"], time.monotonic())
        steps.told[told["step"]] = told
    code = await process.wait()
    steps.ended = time.monotonic()
    if code != 0:
        raise RuntimeError(
            f"rebuild {' '.join(options)} ended with {code}: {steps.told} {(await errors).decode()[-2000:]}"
        )
    await errors
    return steps
