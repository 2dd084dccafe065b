"""What a rebuild of the fold's tables does on all partitions, and says of it. Used by `rebuild.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from app.progress import Display, Tally
from app.rebuild.fold.build import build_partition
from app.rebuild.fold.compare import TableDifference, compare_partition, take_live
from app.rebuild.fold.hand_over import committed_of
from app.rebuild.fold.job import FoldJob
from app.rebuild.fold.place import FoldPlace
from app.worker_processes import Workers
from projections.offsets import LogOffsets
from projections.shadow.runs import Mark
from schemas.errors import StopProcess

NEAR_END: Final = 100
"""Events that the live fold may be ahead when the hand-over begins; they are folded while nobody folds live."""
LISTED: Final = 20


class Steps:
    """The steps at one place, in processes."""

    def __init__(self, place: FoldPlace, broker: LogOffsets, display: Display, workers: Workers) -> None:
        self._place = place
        self._broker = broker
        self._display = display
        self._workers = workers

    async def catch_up(self) -> None:
        """Build to where the live fold stands, read its tables meanwhile, and build on until little is left."""
        self._display.say(
            "building", generation=self._place.target.generation, partitions=self._place.settings.kafka_partitions
        )
        jobs = await self.build()
        await self._workers.run(take_live, jobs)
        while (left := sum((await self._committed()).values()) - sum(job.end for job in jobs)) > NEAR_END:
            self._display.say("catching up", events_left=left)
            jobs = await self.build()

    async def build(self) -> list[FoldJob]:
        """Build to where the live fold has committed by now; what was built."""
        jobs = self._place.jobs(await self._committed())
        tally = Tally({job.partition: Mark(job.partition, end_offset=job.end) for job in jobs})
        for mark in await self._workers.run(build_partition, jobs, self._display.following(tally)):
            tally.told(mark)
        self._display.end(tally)
        return jobs

    async def compare(self) -> list[TableDifference]:
        """Compare what was built with the live fold's tables; all differences."""
        jobs = self._place.jobs(dict.fromkeys(range(self._place.settings.kafka_partitions), 0))
        reports = await self._workers.run(compare_partition, jobs)
        differing = [each for report in reports for each in report.differences.values()]
        self._display.say("compared", pets=sum(report.pets for report in reports), differing=len(differing))
        for each in differing[:LISTED]:
            versions = {"version": each.built_version, "live_version": each.live_version}
            self._display.say("differs", pet=each.pet_id or "/partition", parts=" ".join(each.parts), **versions)
        return differing

    async def _committed(self) -> dict[int, int]:
        place = self._place
        return await committed_of(self._broker, place.group, place.log, range(place.settings.kafka_partitions))


def check_versions(differing: Sequence[TableDifference], *, accepted: bool) -> None:
    """Raises StopProcess when pets have other versions than were sent, unless the operator accepts that."""
    other = [each for each in differing if "version" in each.parts]
    if other and not accepted:
        raise StopProcess(
            f"{len(other)} pets have other versions than the live fold has sent, {other[0].pet_id} has"
            f" {other[0].built_version} instead of {other[0].live_version}: history would be numbered anew."
            " docs/operations/rebuild.md says what --accept-versions means"
        )
