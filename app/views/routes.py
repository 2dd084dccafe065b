"""The table of all routes. `app.views.web_app` registers them, `app.views.openapi` describes them."""

from __future__ import annotations

from typing import Final

from app.views import clusters, health, jobs
from app.views.route import Answer, Parameter, Route

_PET: Final = Parameter("pet_id", "path", "The pet's id.")
_NONE_MATCH: Final = Parameter("If-None-Match", "header", "ETag of the answer that the caller holds.")
_UNCHANGED: Final = Answer(304, "The caller holds this version already.", headers=("ETag",))
_STATUS: Final = "Status"
_DETAIL: Final = "Detail"
_ERROR: Final = "ErrorEnvelope"

_HEALTH: Final = (
    Route(
        "GET",
        "/healthz",
        "healthz",
        "The process answers. Looks nowhere.",
        health.healthz,
        (Answer(200, "It does.", _STATUS),),
        token=False,
    ),
    Route(
        "GET",
        "/readyz",
        "readyz",
        "Kafka, Postgres, Redis and the other roles.",
        health.readyz,
        (Answer(200, "All checks pass.", "Readiness"), Answer(503, "Some check fails.", "Readiness")),
        token=False,
    ),
    Route(
        "GET",
        "/internal/health/redis",
        "redis_health",
        "Whether Redis answers.",
        health.redis_health,
        (Answer(200, "It does.", _STATUS), Answer(503, "It does not.", _DETAIL)),
    ),
)

_JOBS: Final = (
    Route(
        "POST",
        "/internal/cluster-jobs",
        "submit_job",
        "Submit a job: images of a pet to be clustered.",
        jobs.submit_job,
        (
            Answer(
                202,
                "Accepted: the broker has confirmed it. `Location` is `/internal/jobs/{job_id}?pet_id={pet_id}`.",
                _STATUS,
                headers=("X-Job-Id", "Location"),
            ),
            Answer(400, "The body is no JSON text.", _DETAIL),
            Answer(413, "The body is too large.", _DETAIL),
            Answer(422, "A field is not valid.", "ValidationErrors"),
            Answer(503, "Kafka did not confirm in time; submit again with the same job_id.", _DETAIL),
        ),
        parameters=(Parameter("traceparent", "header", "W3C trace context, passed on with the job."),),
        body="ClusterJobBody",
    ),
    Route(
        "GET",
        "/internal/pets/{pet_id}/jobs",
        "list_jobs",
        "A pet's jobs, newest first.",
        jobs.list_jobs,
        (
            Answer(200, "A page.", "JobsEnvelope"),
            Answer(422, "A parameter is not valid.", _ERROR),
            Answer(503, "Postgres does not answer.", _ERROR),
        ),
        parameters=(
            _PET,
            Parameter("limit", "query", f"Jobs on a page, 1 to {jobs.MAX_PAGE}.", "integer"),
            Parameter("cursor", "query", "`meta.next_cursor` of the page before."),
        ),
    ),
    Route(
        "GET",
        "/internal/jobs/{job_id}",
        "get_job",
        "One job.",
        jobs.get_job,
        (
            Answer(200, "The job.", "JobEnvelope"),
            Answer(404, "No such job is known (yet).", _ERROR),
            Answer(409, "Several pets have a job with this id.", _ERROR),
            Answer(503, "Postgres does not answer.", _ERROR),
        ),
        parameters=(
            Parameter("job_id", "path", "The job's id."),
            Parameter("pet_id", "query", "Whose job; without it, an id that several pets' jobs have is a 409."),
        ),
    ),
)

_CLUSTERS: Final = (
    Route(
        "GET",
        "/internal/pets/{pet_id}/clusters",
        "get_clusters",
        "A pet's current clusters.",
        clusters.get_clusters,
        (
            Answer(200, "The clusters.", "ClusterAnswer", headers=("ETag",)),
            _UNCHANGED,
            Answer(404, "The pet was never clustered, or was purged.", _DETAIL),
            Answer(503, "Neither Redis nor Postgres answers.", _DETAIL),
        ),
        parameters=(_PET, _NONE_MATCH),
    ),
    Route(
        "GET",
        "/internal/pets/{pet_id}/clusters/latest",
        "get_latest_clusters",
        "A pet's current clusters, in an envelope.",
        clusters.get_latest,
        (
            Answer(200, "The clusters.", "ClustersEnvelope", headers=("ETag",)),
            _UNCHANGED,
            Answer(404, "The pet was never clustered, or was purged.", _ERROR),
            Answer(503, "Neither Redis nor Postgres answers.", _ERROR),
        ),
        parameters=(_PET, _NONE_MATCH),
    ),
    Route(
        "POST",
        "/internal/pets/{pet_id}/invalidate",
        "invalidate_clusters",
        "Drop the pet's cached answer.",
        clusters.invalidate,
        (Answer(202, "`removed`, or `noop` when none was cached.", _STATUS), Answer(503, "Redis is away.", _DETAIL)),
        parameters=(_PET,),
    ),
)

ROUTES: Final = (*_HEALTH, *_JOBS, *_CLUSTERS)
