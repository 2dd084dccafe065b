"""A line of a backfill's file → a job. Pure but for reading. Called by `app.backfill.run`.

A line is ``pet_id[,image_id…]`` or a JSON object as the body of `POST /internal/cluster-jobs`. A first line whose first
cell is ``pet_id`` is a heading; empty lines are passed over.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final

import msgspec

from bridges.translate import MAX_ENTRY_BYTES, JobRequest, parse_job, parse_json
from schemas.errors import InvalidInput
from schemas.ids import message_id

REASON: Final = "backfill"
"""Of a job that names none."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line with its number from 1. `text`: without its end; None when it is longer than a job may be."""

    number: int
    raw: bytes
    text: bytes | None


def read_lines(source: BinaryIO) -> Iterator[Line]:
    """Line by line, never more of one in memory than a job may have."""
    number = 0
    while raw := source.readline(MAX_ENTRY_BYTES + 2):
        number += 1
        whole = raw.endswith(b"\n") or len(raw) < MAX_ENTRY_BYTES + 2
        yield Line(number, raw, raw.rstrip(b"\r\n") if whole else None)
        rest = raw
        while not whole and rest and not rest.endswith(b"\n"):
            rest = source.readline(MAX_ENTRY_BYTES)


def job_id_of(run: str, pet_id: str) -> str:
    """The same for every repeat of the run; another for every pet, so that it can be looked up alone."""
    return f"backfill-{message_id('backfill', run, pet_id)}"


@dataclass
class JobReader:
    """Turns a run's lines into jobs, in order. A pet has one job in a run; it knows the line of each."""

    run: str
    _seen: dict[str, int] = field(default_factory=dict)

    def read(self, line: Line) -> JobRequest | None:
        """The line's job; None for an empty line and a heading. Raises InvalidInput naming the field."""
        if line.text is None:
            raise InvalidInput("line", f"has more than {MAX_ENTRY_BYTES} bytes")
        text = line.text.removeprefix(b"\xef\xbb\xbf") if line.number == 1 else line.text
        if not text.strip():
            return None
        document = _object(text) if text.lstrip().startswith(b"{") else _cells(text)
        if line.number == 1 and document.get("pet_id") == "pet_id":
            return None
        job = parse_job(document, default_job_id="unnamed")
        first = self._seen.setdefault(job.pet_id, line.number)
        if first != line.number:
            raise InvalidInput("pet_id", f"stands in line {first} already: a pet has one job in a run")
        return msgspec.structs.replace(job, job_id=job_id_of(self.run, job.pet_id), reason=job.reason or REASON)


def _object(text: bytes) -> dict[str, Any]:
    document: dict[str, Any] = parse_json(text, "line")
    for path, layer in (("", document), ("payload.", document.get("payload"))):
        if isinstance(layer, dict) and layer.get("job_id") is not None:
            raise InvalidInput(f"{path}job_id", "must not be given: it follows from the run and the pet")
    return document


def _cells(text: bytes) -> dict[str, Any]:
    try:
        (cells,) = csv.reader([text.decode()], strict=True)
    except UnicodeDecodeError:
        raise InvalidInput("line", "is not UTF-8") from None
    except (csv.Error, ValueError) as error:
        raise InvalidInput("line", f"is neither a JSON object nor comma-separated: {error}") from None
    pet_id, *images = (cell.strip() for cell in cells)
    return {"pet_id": pet_id, "image_ids": images if any(images) else []}
