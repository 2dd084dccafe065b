"""Entries of the job stream that can never become a job. Sent by load.py; each must end as a dead letter."""

from __future__ import annotations

import json
from collections.abc import Mapping
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

ENTRY_KINDS: Final = ("invalid",)
"""What the dead letter of each of them says; ``unexpected`` would mean that nobody had thought of it."""


def buried_bytes(fields: Mapping[bytes, bytes]) -> bytes:
    """What the dead letter must hold: the payload as it came, else all fields as an object of strings."""
    if b"payload" in fields:
        return fields[b"payload"]
    text = {name.decode(): value.decode() for name, value in fields.items()}
    return json.dumps(text, separators=(",", ":")).encode()
