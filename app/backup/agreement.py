"""Whether what an export adds agrees with what it keeps. Used by `export.py` before it writes the manifest.

Only what is new was read. What the export before holds is relied on: its facts had their keys, and its destroyed keys
their purges, since the log only grows. Its keys must still be there, and older facts are read only for a purge.
"""

from __future__ import annotations

from collections.abc import Iterable

from app.backup.check import read_exported
from app.backup.folder import Folder
from app.backup.ledger import KEYS, LOG, Ledger
from app.backup.manifest import ExportedFile, ExportedPartition, ExportedTopic, Manifest
from app.progress import Display
from schemas.errors import InvalidInput

Entry = tuple[ExportedTopic, ExportedPartition, ExportedFile]


def lacking(folder: Folder, before: Manifest | None, ledger: Ledger, display: Display) -> list[tuple[str, str]]:
    """(key, what is missing) of the export before and what `ledger` saw together; it is filled further.

    Files that are damaged are shown and passed over. Blocking.
    """
    lost = []
    if before is not None:
        known = Ledger()
        _read(folder, before, _entries(before, KEYS), known, display)
        lost = [(each, "is not there, but the export before has it") for each in sorted(known.keys - ledger.keys)]
        ledger.purges |= {(each.pet_id, each.purge_id) for each in known.destroyed.values()}
        for partition in sorted({each.partition for each in ledger.without_purge()}):
            for entry in reversed(_entries(before, LOG, partition)):
                if all(each.partition != partition for each in ledger.without_purge()):
                    break
                _read(folder, before, [entry], ledger, display)
    return [*lost, *ledger.lacking()]


def _entries(manifest: Manifest, topic: str, number: int | None = None) -> list[Entry]:
    return [each for each in manifest.files() if each[0].topic == topic and number in (None, each[1].partition)]


def _read(folder: Folder, manifest: Manifest, entries: Iterable[Entry], ledger: Ledger, display: Display) -> None:
    for topic, partition, file in entries:
        try:
            for record in read_exported(folder, manifest, topic, partition, file):
                ledger.see(topic.topic, partition.partition, record)
        except InvalidInput as error:
            display.say("wrong", file=file.path, reason=str(error))
