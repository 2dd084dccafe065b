"""Where a rebuild of the fold's tables works: groups, topics and folders of two generations. Used by `rebuild.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from app.faust_apps import changelog_topic, group_id
from app.rebuild.fold.job import FoldJob
from app.settings import Settings
from schemas.generations import Generation


@dataclass(frozen=True, slots=True)
class FoldPlace:
    """`live`: the generation that folds. `target`: the one that is built, or brought forward."""

    settings: Settings
    live: Generation
    target: Generation

    @property
    def log(self) -> str:
        """The topic that is folded."""
        return self.settings.topics().pet_log.name

    @property
    def group(self) -> str:
        """The consumer group of the live generation."""
        return group_id(self.settings, "fold", self.live.generation)

    @property
    def next_group(self) -> str:
        """The consumer group of the other one."""
        return group_id(self.settings, "fold", self.target.generation)

    @property
    def folder(self) -> Path:
        """Of the rows that are built."""
        return folder_of(self.settings, self.target.generation)

    def jobs(self, ends: Mapping[int, int]) -> list[FoldJob]:
        """One for each partition, up to its offset of the log."""
        return [self._job(number, end) for number, end in sorted(ends.items())]

    def _job(self, number: int, end: int) -> FoldJob:
        offsets = self.target.offsets
        return FoldJob(
            bootstrap_servers=self.settings.kafka_bootstrap_servers,
            log=self.log,
            keys_topic=self.settings.topics().pet_keys.name,
            changelog=changelog_of(self.settings, self.target.generation),
            live_changelog=changelog_of(self.settings, self.live.generation),
            partition=number,
            end=end,
            folder=self.folder / str(number),
            restore_at=offsets.get(str(number), 0) if offsets else -1,
        )


def folder_of(settings: Settings, generation: int) -> Path:
    """The folder in which a generation's rows are built."""
    return settings.data_dir / "rebuild" / f"fold-{generation}"


def changelog_of(settings: Settings, generation: int) -> str:
    """The topic with a generation's rows."""
    return changelog_topic(settings, "fold", generation).name
