"""HTTP answers from values and from ready bytes: compact JSON, the envelope, entity tags. Used by every view. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from aiohttp import web

from app.views.errors import ApiError

API_VERSION: Final = "1"
_JSON: Final = "application/json"


def json_bytes(value: object) -> bytes:
    """Compact UTF-8 JSON. An unpaired surrogate, which UTF-8 cannot hold, is written as its JSON escape."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")


def json_response(body: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """`body` as it is, with content type application/json."""
    return web.Response(body=body, status=status, content_type=_JSON, headers=headers)


def detail_response(status: int, detail: object, *, headers: Mapping[str, str] | None = None) -> web.Response:
    """``{"detail": detail}``."""
    return json_response(json_bytes({"detail": detail}), status=status, headers=headers)


def envelope(data: bytes, meta: Mapping[str, Any] | None = None) -> bytes:
    """The envelope around `data`, which is JSON already and is put in as it is."""
    head = json_bytes({"api_version": API_VERSION})[:-1]
    return b"".join((head, b',"data":', data, b',"meta":', json_bytes(meta or {}), b',"error":null}'))


def error_response(error: ApiError) -> web.Response:
    """The envelope of an error."""
    described = {"code": error.code.code, "message": error.message, **error.fields}
    body = {"api_version": API_VERSION, "data": None, "meta": {}, "error": described}
    return json_response(json_bytes(body), status=error.status, headers=error.headers)


def struct_bytes(value: object) -> bytes:
    """Compact JSON of a msgspec struct, or of lists and dicts of them."""
    return msgspec.json.encode(value)


def entity_tag(version: int) -> str:
    """The ETag of an answer at `version`."""
    return f'"v{version}"'


def matches(if_none_match: str | None, tag: str) -> bool:
    """Whether the header names `tag`: weak comparison, as RFC 9110, 13.1.2 asks for If-None-Match."""
    if if_none_match is None:
        return False
    candidates = [candidate.strip().removeprefix("W/") for candidate in if_none_match.split(",")]
    return "*" in candidates or tag in candidates
