"""One short seed of the fault suite on real servers, so that every test run has some."""

from __future__ import annotations

from tests.faults.registry import chosen
from tests.faults.run import run_seed

SECONDS = 30.0
SEED = 1
FAULTS = ("kill", "term_fold", "state_lost_fold", "redis", "postgres", "storage", "disk_full_embed")
"""Without zombies and a dead broker, which take long: tests/e2e has the one, `make faults` both."""


async def test_nothing_is_lost_in_one_short_seed() -> None:
    result = await run_seed(SEED, SECONDS, chosen(FAULTS))
    assert result.findings == []
    assert result.jobs > SECONDS
    assert len(result.struck) > 10
    assert result.counts["posts without redis"] == result.counts["posts without redis, 202"] > 0
