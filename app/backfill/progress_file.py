"""How far a backfill is: a small file beside it, replaced whole. Called by `app.backfill.run`."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import msgspec

from schemas.errors import StopProcess


class Done(msgspec.Struct, kw_only=True):
    """What the broker has confirmed: the first `lines` lines, whose bytes have this SHA-256."""

    run: str
    lines: int = 0
    sha256: str = hashlib.sha256().hexdigest()
    jobs: int = 0
    commands: int = 0
    images: int = 0
    refused: int = 0


_decoder = msgspec.json.Decoder(Done)


def load_done(path: Path, run: str) -> Done:
    """What is done of this run; nothing when there is no file. Raises StopProcess for another run's or a broken one."""
    try:
        done = _decoder.decode(path.read_bytes())
    except FileNotFoundError:
        return Done(run=run)
    except (OSError, msgspec.DecodeError) as error:
        raise StopProcess(f"--state-file {path}: cannot be read: {error}") from error
    if done.run != run:
        raise StopProcess(f"--state-file {path}: is of the run {done.run!r}, not of {run!r}")
    return done


def store_done(path: Path, done: Done) -> None:
    """Durable when it returns; a crash leaves the old file or the new one. Raises StopProcess when it cannot be."""
    draft = path.with_name(path.name + ".new")
    try:
        with draft.open("wb") as file:
            file.write(msgspec.json.encode(done) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise StopProcess(f"--state-file {path}: cannot be written: {error}") from error
