"""Copies one partition in a process of its own. Called by `rebuild.py` through `app.worker_processes`."""

from __future__ import annotations

from collections.abc import Callable

from agents.pet_keys import open_pet_keys
from projections.shadow.bulk import BulkJob, copy_partition
from projections.shadow.runs import Mark


async def copy_with_keys(job: BulkJob, told: Callable[[Mark], None]) -> Mark:
    """Copy it with the pets' keys at hand; see `copy_partition`."""
    async with open_pet_keys(job.bootstrap_servers, job.keys_topic, partition=job.partition) as keys:
        return await copy_partition(job, keys, told)
