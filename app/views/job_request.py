"""The body of `POST /internal/cluster-jobs` → a validated job, or the errors as existing callers know them. Pure.

The shape is pydantic's to judge, because its messages are part of the contract; the fields, which may stand in the
body, in its `payload` or in a `payload` inside that, are judged by `bridges.translate`, so that a job is valid or not
whichever way it comes.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final, NoReturn

import msgspec
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from app.views.echo import bounded_echo, fits_64_bits, is_utf8, locate
from app.views.errors import UNPARSABLE_DETAIL, PlainError
from bridges.translate import JobRequest, parse_job
from schemas.bounds import check_tree
from schemas.errors import InvalidInput

DETAILS: Final = ("image_ids", "images", "labels", "coverage", "quality_score")
FIELDS: Final = ("pet_id", "job_id", "reason", "force", "metadata", "payload", *DETAILS)
"""What a caller may give, at every depth. How long a job waits or was tried before is not the caller's to say."""
_COVERAGE: Final = re.compile(r"(?P<head>(?:payload\.)*)coverage\.(?P<name>.*)", re.DOTALL)
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
        return parse_job(_accepted(body, document), default_job_id=default_job_id, traceparent=traceparent)
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
    _check_values(document)
    return document


def _check_values(document: Any) -> None:
    """Refuse what Python reads and other readers of the same job would not."""
    try:
        check_tree(document, "body")
        msgspec.json.encode(document)
    except InvalidInput as error:
        place = locate(document, lambda value: isinstance(value, int) and not fits_64_bits(value))
        raise PlainError(422, [_error(["body", *place], error.reason, None)]) from None
    except UnicodeEncodeError:
        place = locate(document, lambda value: isinstance(value, str) and not is_utf8(value))
        raise PlainError(422, [_error(["body", *place], "holds half of a surrogate pair", None)]) from None


def _is_json(content_type: str | None) -> bool:
    """A body without a content type is taken for JSON, as it always was."""
    if content_type is None:
        return True
    kind, _, subtype = content_type.partition(";")[0].strip().lower().partition("/")
    return kind == "application" and (subtype == "json" or subtype.endswith("+json"))


def _accepted(body: ClusterJobBody, document: dict[str, Any]) -> dict[str, Any]:
    """The fields that a caller may give, nothing else, in the form that `parse_job` reads.

    Of the body's own layer, what pydantic has made of them: it takes ``"true"`` for true, as it always has.
    """
    return _known(document | {name: getattr(body, name) for name in body.model_fields_set})


def _known(layer: dict[str, Any]) -> dict[str, Any]:
    """A layer and those inside it, without unknown keys."""
    known: dict[str, Any] = {name: layer[name] for name in FIELDS if name in layer}
    if isinstance(known.get("payload"), dict):
        known["payload"] = _known(known["payload"])
    return known


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is too large")
    return value


def _pydantic_errors(error: ValidationError) -> list[dict[str, Any]]:
    return [
        {**each, "loc": ["body", *each["loc"]], "input": bounded_echo(each["input"])}
        for each in error.errors(include_url=False)
    ]


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
    return {"type": "value_error", "loc": loc, "msg": reason, "input": bounded_echo(value)}


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
    inside = _COVERAGE.fullmatch(field)
    if inside is not None:
        return [*_path(inside["head"]), "coverage", inside["name"]]
    return [int(index) if index else key for index, key in _PATH_PART.findall(field)]
