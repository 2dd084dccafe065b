"""What can go wrong in an answer. The one catalogue of error codes, and the exceptions that views raise.

HttpError
├── PlainError     the routes that existing callers know, and everything before a route is reached: {"detail": …}
└── ApiError       the routes in an envelope: {"api_version", "data": null, "meta", "error": {"code", "message", …}}

`app.views.middleware` turns them into answers. Missing or wrong tokens, unknown paths, wrong methods and bodies that
are too large are answered as PlainErrors on every route.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

TOKEN_DETAIL: Final = "invalid internal token"
NO_CLUSTERS_DETAIL: Final = "cluster state not found"
STORE_DETAIL: Final = "cluster store unavailable"
REDIS_DETAIL: Final = "redis unavailable"
KAFKA_DETAIL: Final = "job queue unavailable"
UNPARSABLE_DETAIL: Final = "There was an error parsing the body"


@dataclass(frozen=True)
class ErrorCode:
    """A stable word for callers' programs, its HTTP status, and when it is given."""

    code: str
    status: int
    meaning: str


CLUSTERS_NOT_FOUND: Final = ErrorCode("clusters_not_found", 404, "The pet was never clustered, or was purged.")
JOB_NOT_FOUND: Final = ErrorCode(
    "job_not_found", 404, "No job with this id is known; a job appears a moment after it was accepted."
)
AMBIGUOUS_JOB_ID: Final = ErrorCode(
    "ambiguous_job_id", 409, "Several pets have a job with this id; say which with ?pet_id=."
)
INVALID_PARAMETER: Final = ErrorCode(
    "invalid_parameter", 422, "A parameter is not valid; `field` says which, `message` why."
)
STORE_UNAVAILABLE: Final = ErrorCode("store_unavailable", 503, "Postgres does not answer; try again later.")

CATALOGUE: Final = (CLUSTERS_NOT_FOUND, JOB_NOT_FOUND, AMBIGUOUS_JOB_ID, INVALID_PARAMETER, STORE_UNAVAILABLE)


class HttpError(Exception):
    """Base of what a view raises instead of answering."""


class PlainError(HttpError):
    """Answers `status` with ``{"detail": detail}``; `detail` is a text, or a list of validation errors."""

    def __init__(self, status: int, detail: str | list[dict[str, Any]]) -> None:
        super().__init__(f"{status} {detail}")
        self.status = status
        self.detail = detail


class ApiError(HttpError):
    """Answers with an envelope. `message` defaults to the code's meaning; `fields` are put beside it."""

    def __init__(self, code: ErrorCode, message: str = "", **fields: str) -> None:
        super().__init__(code.code)
        self.code = code
        self.message = message or code.meaning
        self.fields = fields
