"""Identifiers: which strings callers may use, and the surrogate keys made from them.

Used by the bridge and the HTTP API to validate, and by projections for row keys.
"""

from __future__ import annotations

import re
import uuid
from typing import Final

from schemas.errors import InvalidInput

ID_MAX_LENGTH: Final = 128
ID_PATTERN: Final = re.compile(r"[A-Za-z0-9_:.\-]{1,128}")
UNCLUSTERED: Final = -1
"""The cluster number of an image that lies in no cluster."""

_CLUSTER_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,9}")
_CLUSTER_NUMBER_MAX: Final = 2**31 - 1
_NAMESPACE: Final = uuid.UUID("6f1f2f0e-5f0c-5a51-9a53-6d6a0d5f7b01")


def check_id(value: object, field: str) -> str:
    """Return `value` when it is a valid id.

    Raises InvalidInput naming `field` when it is not a string of 1-128 of ``A-Z a-z 0-9 . _ : -``.
    """
    if not isinstance(value, str):
        raise InvalidInput(field, f"must be a string, got {type(value).__name__}")
    if not ID_PATTERN.fullmatch(value):
        raise InvalidInput(field, "must be 1-128 characters of A-Z a-z 0-9 . _ : -")
    return value


def is_id(value: object) -> bool:
    """Whether `value` is a valid id."""
    return isinstance(value, str) and ID_PATTERN.fullmatch(value) is not None


def pet_key(key: bytes | None) -> bytes | None:
    """A message's key when it names a pet. Anything else in its place may be of any size, and goes no further."""
    return key if key is not None and is_id(key.decode("utf-8", "replace")) else None


def cluster_id(pet_id: str, number: int) -> str:
    """The public id of a pet's cluster, e.g. ``pet_123-cluster-0``."""
    return f"{pet_id}-cluster-{number}"


def cluster_number(pet_id: str, text: str) -> int | None:
    """The number of the pet's cluster that is called `text`; None when no cluster of the pet can be."""
    number = text.removeprefix(cluster_id(pet_id, 0)[:-1])
    if number == text or not _CLUSTER_NUMBER.fullmatch(number) or int(number) > _CLUSTER_NUMBER_MAX:
        return None
    return int(number)


def version_key(pet_id: str, version: int) -> uuid.UUID:
    """Row key of one version of a pet. Ids hold no ``/``, so the name is unambiguous."""
    return uuid.uuid5(_NAMESPACE, f"version/{pet_id}/{version}")


def job_key(pet_id: str, job_id: str) -> uuid.UUID:
    """Row key of a job; a job is identified by (pet_id, job_id)."""
    return uuid.uuid5(_NAMESPACE, f"job/{pet_id}/{job_id}")


def run_key(job_id: str, run: int, requeue: str) -> str:
    """Names one run of a job within its pet: the job's id for the first run. Ids hold no ``#``."""
    return job_id if run == 1 else f"{job_id}#{run}.{requeue}"


def message_id(*cause: object) -> str:
    """`ce_id` of a message, derived from what caused it, so that a repeat has the same id."""
    return str(uuid.uuid5(_NAMESPACE, "message/" + "/".join(map(str, cause))))
