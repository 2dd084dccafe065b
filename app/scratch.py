"""A folder for what a command keeps on disk while it runs. Used by `app.verify` and `app.whatif`."""

from __future__ import annotations

import fcntl
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import StopProcess


@contextmanager
def scratch(parent: Path, what: str) -> Iterator[Path]:
    """A folder of this run's own, removed behind it; what killed runs have left goes, too.

    Raises StopProcess when another `what` is under way there, or `parent` cannot be written to.
    """
    try:
        parent.mkdir(parents=True, exist_ok=True)
        lock = (parent / "lock").open("w")
    except OSError as error:
        raise StopProcess(f"DATA_DIR: {parent} cannot be written to: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StopProcess(f"another {what} is under way in {parent}") from None
        for left in parent.iterdir():
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
        folder = parent / uuid.uuid4().hex
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
