"""The routes of a pet's current clusters. Part of the table in `app.views.routes`."""

from __future__ import annotations

from typing import Final

from app.views import clusters
from app.views.cache_status import HEADER
from app.views.errors import RETRY_AFTER
from app.views.read_request import MAX_WAIT
from app.views.route import ERROR, NONE_MATCH, PET, Answer, Parameter, Route
from projections.cursors import INT64_MAX

_DETAIL: Final = "Detail"
_RETRY: Final = tuple(RETRY_AFTER)
_READ_HEADERS: Final = ("ETag", HEADER)
_READ_UNCHANGED: Final = Answer(304, "The caller holds this version already.", headers=_READ_HEADERS)
_NO_CLUSTERS: Final = "The pet was never clustered, or was purged; or it has no job `wait_for_job`."
_NOT_YET: Final = "The pet is not at `min_version`, or the job of `wait_for_job` has not ended, and the wait is over."
_NEITHER: Final = "Neither Redis nor Postgres answers, or what is waited for cannot be asked for."
_READ: Final = (
    PET,
    Parameter(
        "min_version",
        "query",
        "The lowest version that will do. The answer is not older, wherever it comes from.",
        "integer",
        {"minimum": 1, "maximum": INT64_MAX},
    ),
    Parameter(
        "wait_for_job",
        "query",
        "A job of this pet, which has to have ended: the answer holds its images. `X-Job-Status` tells how it ended; "
        "one that failed is an end too.",
    ),
    Parameter(
        "wait",
        "query",
        "How many seconds both may be waited for; 2 unless given, 0 does not wait.",
        "number",
        {"minimum": 0, "maximum": MAX_WAIT},
    ),
    NONE_MATCH,
)

CURRENT_CLUSTERS: Final = (
    Route(
        "GET",
        "/internal/pets/{pet_id}/clusters",
        "get_clusters",
        "A pet's current clusters.",
        clusters.get_clusters,
        (
            Answer(200, "The clusters.", "ClusterAnswer", headers=_READ_HEADERS),
            _READ_UNCHANGED,
            Answer(404, _NO_CLUSTERS, _DETAIL),
            Answer(409, _NOT_YET, _DETAIL, headers=_RETRY),
            Answer(422, "A parameter is not valid; `loc` tells which.", "ValidationErrors"),
            Answer(503, _NEITHER, _DETAIL, headers=_RETRY),
        ),
        parameters=_READ,
    ),
    Route(
        "GET",
        "/internal/pets/{pet_id}/clusters/latest",
        "get_latest_clusters",
        "A pet's current clusters, in an envelope.",
        clusters.get_latest,
        (
            Answer(200, "The clusters.", "ClustersEnvelope", headers=_READ_HEADERS),
            _READ_UNCHANGED,
            Answer(404, _NO_CLUSTERS, ERROR),
            Answer(409, _NOT_YET, ERROR, headers=_RETRY),
            Answer(422, "A parameter is not valid.", ERROR),
            Answer(503, _NEITHER, ERROR, headers=_RETRY),
        ),
        parameters=_READ,
    ),
    Route(
        "POST",
        "/internal/pets/{pet_id}/invalidate",
        "invalidate_clusters",
        "Drop the pet's cached answer.",
        clusters.invalidate,
        (Answer(202, "`removed`, or `noop` when none was cached.", "Status"), Answer(503, "Redis is away.", _DETAIL)),
        parameters=(PET,),
    ),
)
