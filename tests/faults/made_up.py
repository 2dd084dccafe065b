"""Small logs and cases for the tests of the audit and the oracle: facts, records, and a case in which all is well."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, Final

import msgspec
import numpy as np

from schemas.codec import encode_fact
from schemas.facts import EmbeddedImage, Fact, FailedImage, ImagesEmbedded, JobContext, Quality
from tests.faults.case import Case
from tests.faults.evidence import Evidence
from tests.faults.ledger import Ledger
from tests.faults.stack import Outages
from tests.faults.watch import Observations

Entry = tuple[bytes | None, bytes | None]
"""Key and value of a record."""
DIMENSION: Final = 8
TIME: Final = "2026-01-01T00:00:00.000000+00:00"


def fact(
    pet: str,
    job: JobContext,
    *images: str,
    known: tuple[str, ...] = (),
    failed: tuple[str, ...] = (),
    pending: tuple[str, ...] = (),
) -> Entry:
    """A record of the log; an image's vector follows from its name."""
    made: Fact = ImagesEmbedded(
        job=job,
        model="m@1",
        dimension=DIMENSION,
        images=tuple(map(_image, images)),
        known=known,
        failed=tuple(FailedImage(name, "not_found", "gone") for name in failed),
        pending=pending,
    )
    return pet.encode(), encode_fact(made, event_id="e", time=TIME, pet_id=pet)


def _image(image_id: str) -> EmbeddedImage:
    vector = np.random.default_rng(sum(image_id.encode())).standard_normal(DIMENSION)
    unit = np.round(vector / np.linalg.norm(vector) * 4096).astype("<i2")
    return EmbeddedImage(image_id, unit.tobytes(), Quality())


def record(
    key: bytes | None, value: bytes | None, offset: int = 0, ce_id: str = "", source: str = "", topic: str = "t"
) -> Any:
    """What a consumer reads."""
    headers = [("ce_id", ce_id.encode()), ("ce_source", source.encode())]
    return SimpleNamespace(topic=topic, partition=0, offset=offset, key=key, value=value, headers=headers)


def message(pet: str, value: msgspec.Struct | dict[str, Any], offset: int = 0, ce_id: str = "") -> Any:
    """A JSON message."""
    return record(pet.encode(), msgspec.json.encode(value), offset, ce_id)


def case(log: Sequence[Entry] = (), *, seconds: float = 20.0, **evidence: Any) -> Case:
    """A case with this log and this evidence."""
    topics: dict[str, Any] = {name: [] for name in TOPICS} | {name: {} for name in TABLES} | {"swept": []}
    records = [record(key, value, offset) for offset, (key, value) in enumerate(log)]
    found = Evidence(**(topics | {"log": records} | evidence))
    return Case(Ledger(), found, Observations(), Outages(), {}, {}, seconds)


TOPICS: Final = (*("commands", "retries", "log", "versions", "public", "statuses", "letters", "actions", "changelog"),)
TABLES: Final = ("job_rows", "version_rows", "members", "letter_rows")
