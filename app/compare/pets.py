"""Which pets are compared. Called by `python -m app compare`."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO

from app.backfill.lines import JobReader, read_lines
from schemas.errors import InvalidInput

Refused = Callable[[int, InvalidInput], None]


def pets_of_file(source: BinaryIO, refused: Refused) -> list[str]:
    """The pets of a file as `python -m app backfill` takes it; images and all else of a line are passed over.

    `refused` is told of each line that names no pet, or one that was named before.
    """
    reader, pets = JobReader("compare"), []
    for line in read_lines(source):
        try:
            job = reader.read(line)
        except InvalidInput as error:
            refused(line.number, error)
            continue
        if job is not None:
            pets.append(job.pet_id)
    return pets
