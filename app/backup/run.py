"""From the command line's verb to the work. Called by `app.commands.log`."""

from __future__ import annotations

import asyncio
from typing import Final, Literal, TextIO

from app.away import stores_told
from app.backup.adopt import adopt, must_adopt
from app.backup.check import check
from app.backup.export import Export
from app.backup.folder import Folder
from app.backup.manifest import Manifest
from app.backup.place import Place
from app.backup.progress import Count
from app.backup.restore import Restore
from app.progress import Display
from app.settings import Settings
from projections.away import POSTGRES_ERRORS

Verb = Literal["export", "check", "import", "adopt"]
NEXT: Final = "`prepare`, then `log adopt`; fold and embed must start with an empty DATA_DIR"


async def run(settings: Settings, verb: Verb, url: str, *, file_bytes: int, as_json: bool, out: TextIO) -> int:
    """Do it and print it; returns the exit code. `url`: the export's folder.

    Raises StopProcess when it cannot be done.
    """
    display, place = Display(out, as_json=as_json), Place(settings)
    topics = place.topics.restored()
    with stores_told(settings, "; run it again, it goes on"):
        if verb == "adopt":
            await adopt(place, display)
            return 0
        folder = Folder(url)
        if verb == "check":
            return await _check(folder, display)
        if verb == "export":
            manifest = await Export(place, folder, display, topics, file_bytes=file_bytes).run()
            _say("exported", manifest, display)
            return 0
        manifest = await Restore(place, folder, display, topics).run()
        _say("imported", manifest, display)
        await _mark(place, display)
        return 0


async def _check(folder: Folder, display: Display) -> int:
    manifest = await asyncio.to_thread(folder.needed_manifest)
    count = Count(display, "checking", manifest.records)
    problems = await asyncio.to_thread(check, folder, manifest, count)
    count.end()
    for problem in problems:
        display.say("wrong", file=problem.path, reason=problem.reason)
    _say("checked", manifest, display, wrong=len(problems))
    return 1 if problems else 0


async def _mark(place: Place, display: Display) -> None:
    """After an import: Postgres may not be there yet, or be new."""
    try:
        await must_adopt(place, display)
    except POSTGRES_ERRORS as error:
        display.say("Postgres does not answer", error=type(error).__name__)
    display.say("next", do=NEXT)


def _say(step: str, manifest: Manifest, display: Display, **more: int) -> None:
    for topic in manifest.topics:
        display.say(
            "topic",
            name=topic.topic,
            records=sum(partition.records for partition in topic.partitions),
            files=sum(len(partition.files) for partition in topic.partitions),
            bytes=sum(file.bytes for partition in topic.partitions for file in partition.files),
        )
    display.say(step, records=manifest.records, taken_at=manifest.taken_at, cluster=manifest.cluster, **more)
