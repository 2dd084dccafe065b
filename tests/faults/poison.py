"""Entries of the job stream that can never become a job. Sent by load.py; each must end as a dead letter."""

from __future__ import annotations

import json
from typing import Final

_PAYLOADS: Final[tuple[bytes, ...]] = (
    b"{not json",
    b"",
    b"null",
    b"[1, 2]",
    b'"a string"',
    b"17",
    b"\xff\xfe{}",
    b"[" * 5000,
    b"{}",
    json.dumps({"pet_id": "a/b", "payload": {"image_ids": ["1"]}}).encode(),
    json.dumps({"pet_id": "p\x00", "payload": {"image_ids": ["1"]}}).encode(),
    json.dumps({"pet_id": 7, "payload": {"image_ids": ["1"]}}).encode(),
    json.dumps({"pet_id": "pet-0", "payload": {"image_ids": "not a list"}}).encode(),
    json.dumps({"pet_id": "pet-0", "payload": {"image_ids": [None]}}).encode(),
    json.dumps({"pet_id": "pet-0", "force": "perhaps", "payload": {"image_ids": ["1"]}}).encode(),
    b'{"pet_id": "pet-0", "payload": {"image_ids": ["1"], "coverage": {"a": NaN}}}',
)

POISON: Final[tuple[dict[bytes, bytes], ...]] = (
    *({b"payload": payload} for payload in _PAYLOADS),
    {b"other": b"no payload field"},
    {b"pet_id": b"pet-0", b"image_ids": b"{"},
)
