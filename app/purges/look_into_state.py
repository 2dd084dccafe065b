"""What the local table files of this machine hold of a pet before its purge. Called by `app.purges.check`.

They are opened for reading only, beside a worker that has them open; a worker elsewhere has its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from rocksdict import AccessType, Options, Rdict

from app.faust_apps import TABLES
from app.purges.finding import Finding, Purge
from app.purges.fold_rows import tells_of_before
from app.purges.look_into_topics import is_remembered

_EVERY_DATABASE: Final = "CURRENT"
"""A file that each RocksDB folder has."""


def look_into_state(data_dir: Path, purge: Purge) -> Iterator[Finding]:
    """Every RocksDB folder below `data_dir`: the tables of embed and fold, and what a rebuild has begun."""
    folders = sorted(found.parent for found in data_dir.rglob(_EVERY_DATABASE))
    if not folders:
        yield Finding(place=str(data_dir), verdict="unseen", what="no local tables: workers elsewhere have theirs")
    for folder in folders:
        try:
            left = _rows_of_before(folder, purge)
        except Exception as error:  # rocksdict has no narrower one: locked, damaged, or going away just now
            yield Finding(place=str(folder), verdict="unseen", what=f"cannot be opened: {error}"[:300])
            continue
        if left:
            what = f"{len(left)} rows: {', '.join(left[:10])}"
            yield Finding(place=str(folder), verdict="left", what=what)


def _rows_of_before(folder: Path, purge: Purge) -> list[str]:
    prefix, embeds = f"{purge.pet_id}/".encode(), folder.name.startswith(f"{TABLES['embed']}-")
    rows = Rdict(str(folder), Options(raw_mode=True), access_type=AccessType.read_only())
    left = []
    try:
        for key, value in rows.items(from_key=prefix):
            if not key.startswith(prefix):
                break
            if is_remembered(key, purge) if embeds else tells_of_before(key, value, purge):
                left.append(key.decode("utf-8", "replace"))
    finally:
        rows.close()
    return left
