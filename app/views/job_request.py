"""The body of `POST /internal/cluster-jobs` → a validated job, or the errors as existing callers know them. Pure.

The shape is pydantic's to judge, because its messages are part of the contract; what stands inside `payload` is judged
by `bridges.translate`, so that a job is valid or not whichever way it comes.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final, NoReturn

import msgspec
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from app.views.errors import UNPARSABLE_DETAIL, PlainError
from bridges.fields import check_tree
from bridges.translate import MAX_DEPTH, JobRequest, parse_job
from schemas.errors import InvalidInput

PAYLOAD_FIELDS: Final = ("image_ids", "labels", "coverage", "quality_score")
_PATH_PART: Final = re.compile(r"\[(\d+)\]|([^.\[\]]+)")


class ClusterJobBody(BaseModel):
    """Only `pet_id` is required; unknown keys are dropped."""

    pet_id: str
    job_id: str | None = None
    reason: str | None = None
    force: bool = False
    payload: dict[str, Any] = Field(default_factory=dict)
    metadata: dict[str, Any] | None = None


_body = TypeAdapter(ClusterJobBody)


def parse_request(raw: bytes, content_type: str | None, *, default_job_id: str, traceparent: str) -> JobRequest:
    """The job of a request body. Raises PlainError 422 with the list of errors, or 400 for what is no JSON text."""
    document = _document(raw, content_type)
    try:
        # What callers know as the answer to a body that is no object comes from validating attributes.
        body = _body.validate_python(document, from_attributes=True)
    except ValidationError as error:
        raise PlainError(422, _pydantic_errors(error)) from None
    try:
        return parse_job(_accepted(body), default_job_id=default_job_id, traceparent=traceparent)
    except InvalidInput as error:
        raise PlainError(422, [_field_error(error, document)]) from None


def _document(raw: bytes, content_type: str | None) -> Any:
    if not raw:
        raise PlainError(422, [_missing_body()])
    if not _is_json(content_type):
        # Not an object, so that validation answers as it does for an array.
        return raw.decode("utf-8", "replace")
    try:
        document = json.loads(raw, parse_constant=_refuse, parse_float=_finite)
    except json.JSONDecodeError as error:
        raise PlainError(422, [_json_error(error)]) from None
    except (ValueError, RecursionError):
        raise PlainError(400, UNPARSABLE_DETAIL) from None
    if document is None:
        raise PlainError(422, [_missing_body()])
    try:
        check_tree(document, "body", MAX_DEPTH)
        msgspec.json.encode(document)
    except InvalidInput as error:
        raise PlainError(422, [_error(["body"], error.reason, None)]) from None
    except UnicodeEncodeError:
        raise PlainError(422, [_error(["body"], "holds half of a surrogate pair", None)]) from None
    return document


def _is_json(content_type: str | None) -> bool:
    """A body without a content type is taken for JSON, as it always was."""
    if content_type is None:
        return True
    kind, _, subtype = content_type.partition(";")[0].strip().lower().partition("/")
    return kind == "application" and (subtype == "json" or subtype.endswith("+json"))


def _accepted(body: ClusterJobBody) -> dict[str, Any]:
    """The fields that a caller may give, nothing else, in the form that `parse_job` reads."""
    payload = {name: body.payload[name] for name in PAYLOAD_FIELDS if name in body.payload}
    return {**body.model_dump(exclude={"payload"}), "payload": payload}


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is too large")
    return value


def _pydantic_errors(error: ValidationError) -> list[dict[str, Any]]:
    return [{**each, "loc": ["body", *each["loc"]]} for each in error.errors(include_url=False)]


def _missing_body() -> dict[str, Any]:
    return {"type": "missing", "loc": ["body"], "msg": "Field required", "input": None}


def _json_error(error: json.JSONDecodeError) -> dict[str, Any]:
    return {
        "type": "json_invalid",
        "loc": ["body", error.pos],
        "msg": "JSON decode error",
        "input": {},
        "ctx": {"error": error.msg},
    }


def _error(loc: list[str | int], reason: str, value: object) -> dict[str, Any]:
    return {"type": "value_error", "loc": loc, "msg": reason, "input": value}


def _field_error(error: InvalidInput, document: Any) -> dict[str, Any]:
    loc: list[str | int] = ["body", *_path(error.field)]
    value = document
    for step in loc[1:]:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            value = None
    return _error(loc, error.reason, value)


def _path(field: str) -> list[str | int]:
    """``payload.image_ids[3]`` → ``["payload", "image_ids", 3]``; a name in `coverage` stays whole, dots and all."""
    head, separator, name = field.partition(".coverage.")
    if separator:
        return [*_path(head), "coverage", name]
    return [int(index) if index else key for index, key in _PATH_PART.findall(field)]
