"""What can go wrong in an answer. The one catalogue of error codes, and the exceptions that views raise.

HttpError
├── PlainError     the routes that existing callers know, and everything before a route is reached: {"detail": …}
└── ApiError       the routes in an envelope: {"api_version", "data": null, "meta", "error": {"code", "message", …}}

`app.views.middleware` turns them into answers. Missing or wrong tokens, unknown paths, wrong methods and bodies that
are too large are answered as PlainErrors on every route.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

TOKEN_DETAIL: Final = "invalid internal token"
NO_CLUSTERS_DETAIL: Final = "cluster state not found"
STORE_DETAIL: Final = "cluster store unavailable"
READING_OFF_DETAIL: Final = "cluster store not read"
REDIS_DETAIL: Final = "redis unavailable"
KAFKA_DETAIL: Final = "job queue unavailable"
RETRY_AFTER: Final = {"Retry-After": "1"}
"""Header of an answer that may be another one a second later; every 503 has it."""
UNPARSABLE_DETAIL: Final = "There was an error parsing the body"


@dataclass(frozen=True)
class ErrorCode:
    """A stable word for callers' programs, its HTTP status, and when it is given."""

    code: str
    status: int
    meaning: str


CLUSTERS_NOT_FOUND: Final = ErrorCode("clusters_not_found", 404, "The pet was never clustered, or was purged.")
VERSION_NOT_FOUND: Final = ErrorCode(
    "version_not_found", 404, "The pet has not had this version (yet); a version appears a moment after its job."
)
VERSION_REMOVED: Final = ErrorCode(
    "version_removed", 410, "The pet had this version, but retention has removed it; only a rebuild brings it back."
)
VERSION_PURGED: Final = ErrorCode(
    "version_purged", 410, "The pet had this version, but a purge has destroyed it; nothing brings it back."
)
CLUSTER_NOT_FOUND: Final = ErrorCode("cluster_not_found", 404, "The pet has no cluster of this id at this version.")
SIMILARITY_OFF: Final = ErrorCode(
    "similarity_off", 403, "The search across pets is not switched on here: SIMILARITY_TOKEN is not set."
)
SIMILARITY_FORBIDDEN: Final = ErrorCode(
    "similarity_forbidden", 403, "The search across pets needs a token of its own, as `X-Similarity-Token`."
)
NOT_INDEXED: Final = ErrorCode(
    "not_indexed", 404, "The photo or cluster is there, but not in the similarity index (yet); `message` says why."
)
IMAGE_NOT_FOUND: Final = ErrorCode("image_not_found", 404, "No kept version of the pet has an image of this id.")
JOB_NOT_FOUND: Final = ErrorCode(
    "job_not_found", 404, "No job with this id is known; a job appears a moment after it was accepted."
)
AMBIGUOUS_JOB_ID: Final = ErrorCode(
    "ambiguous_job_id", 409, "Several pets have a job with this id; say which with ?pet_id=."
)
VERSION_NOT_REACHED: Final = ErrorCode(
    "version_not_reached",
    409,
    "The pet is not at `min_version` or `expected_version` yet; `version` is where it is.",
)
JOB_UNFINISHED: Final = ErrorCode("job_unfinished", 409, "The job of `wait_for_job` has not ended yet.")
INVALID_PARAMETER: Final = ErrorCode(
    "invalid_parameter", 422, "A parameter is not valid; `field` says which, `message` why."
)
INVALID_BODY: Final = ErrorCode("invalid_body", 422, "The body is not valid; `field` says where, `message` why.")
LETTER_NOT_FOUND: Final = ErrorCode(
    "dead_letter_not_found", 404, "No dead letter with this id is known; a letter appears a moment after it was sent."
)
LETTER_REFUSED: Final = ErrorCode(
    "dead_letter_refused", 409, "The letter cannot be requeued, or no longer be discarded; `message` says why."
)
COUNT_CHANGED: Final = ErrorCode(
    "count_changed", 409, "The filter takes another number of letters than expected; `count` is the present one."
)
TOO_MANY_LETTERS: Final = ErrorCode(
    "too_many_letters", 409, "The filter takes more letters than one request may act on; `count` says how many."
)
PURGE_NOT_FOUND: Final = ErrorCode(
    "purge_not_found", 404, "The pet has no purge of this id; one appears a moment after it was accepted."
)
DECISION_NOT_FOUND: Final = ErrorCode(
    "decision_not_found",
    404,
    "The pet has no decision of this id that is settled; one appears a moment after it was accepted.",
)
DECISION_REFUSED: Final = ErrorCode(
    "decision_refused",
    409,
    "The decision is not carried out; `refusal` says in a word why (not_found, moved_on, conflict, too_many).",
)
DECISION_ID_TAKEN: Final = ErrorCode("decision_id_taken", 409, "The pet has another decision of this id.")
STORE_UNAVAILABLE: Final = ErrorCode("store_unavailable", 503, "Postgres does not answer; try again later.")
PROGRESS_UNAVAILABLE: Final = ErrorCode(
    "progress_unavailable", 503, "Redis does not answer; a rebuild goes on without."
)
READING_OFF: Final = ErrorCode(
    "reading_off", 503, "An operator has switched off that the API reads Postgres; what needs it is not answered now."
)
TOO_MANY_WAITING: Final = ErrorCode(
    "too_many_waiting", 503, "As many requests wait for a version or a job as may; try again later."
)
KAFKA_UNAVAILABLE: Final = ErrorCode(
    "kafka_unavailable", 503, "Kafka did not confirm in time; send the same again, a repeat changes nothing."
)

CATALOGUE: Final = (
    CLUSTERS_NOT_FOUND,
    VERSION_NOT_FOUND,
    VERSION_REMOVED,
    VERSION_PURGED,
    CLUSTER_NOT_FOUND,
    IMAGE_NOT_FOUND,
    SIMILARITY_OFF,
    SIMILARITY_FORBIDDEN,
    NOT_INDEXED,
    JOB_NOT_FOUND,
    AMBIGUOUS_JOB_ID,
    VERSION_NOT_REACHED,
    JOB_UNFINISHED,
    INVALID_PARAMETER,
    INVALID_BODY,
    LETTER_NOT_FOUND,
    LETTER_REFUSED,
    COUNT_CHANGED,
    TOO_MANY_LETTERS,
    PURGE_NOT_FOUND,
    DECISION_NOT_FOUND,
    DECISION_REFUSED,
    DECISION_ID_TAKEN,
    STORE_UNAVAILABLE,
    PROGRESS_UNAVAILABLE,
    READING_OFF,
    TOO_MANY_WAITING,
    KAFKA_UNAVAILABLE,
)


class HttpError(Exception):
    """Base of what a view raises instead of answering. `headers`: of the answer."""

    def __init__(self, text: str, status: int, headers: Mapping[str, str] | None) -> None:
        super().__init__(text)
        self.status = status
        self.headers = {**(RETRY_AFTER if status == 503 else {}), **(headers or {})}


class PlainError(HttpError):
    """Answers `status` with ``{"detail": detail}``; `detail` is a text, or a list of validation errors."""

    def __init__(
        self, status: int, detail: str | list[dict[str, Any]], headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(f"{status} {detail}", status, headers)
        self.detail = detail


class ApiError(HttpError):
    """Answers with an envelope. `message` defaults to the code's meaning; `fields` are put beside it."""

    def __init__(
        self, code: ErrorCode, message: str = "", headers: Mapping[str, str] | None = None, **fields: str | int
    ) -> None:
        super().__init__(code.code, code.status, headers)
        self.code = code
        self.message = message or code.meaning
        self.fields = fields
