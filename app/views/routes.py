"""The table of all routes. `app.views.web_app` registers them, `app.views.openapi` describes them."""

from __future__ import annotations

from functools import partial
from typing import Final, get_args

from app.views import dead_letters, health, jobs, rebuilds
from app.views.current_routes import CURRENT_CLUSTERS
from app.views.decision_routes import DECISIONS
from app.views.echo import MAX_ECHO_BYTES
from app.views.history_routes import CLUSTER_HISTORY, JOBS_BY_STATE
from app.views.purge_routes import PURGES
from app.views.route import CURSOR, ERROR, PET, Answer, Parameter, Route, page_size
from app.views.similar_routes import SIMILAR
from projections.dead_letter_reader import FilterState, Subject
from schemas.dead_letters import ActionKind

_STATUS: Final = "Status"
_DETAIL: Final = "Detail"

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

_REBUILDS: Final = (
    Route(
        "GET",
        "/internal/rebuilds",
        "list_rebuilds",
        "How far rebuilds are: the newest of each projection, the one that was begun last first.",
        rebuilds.list_rebuilds,
        (
            Answer(200, "What they have told last; within seconds of now, while they run.", "RebuildsEnvelope"),
            Answer(503, "Redis does not answer.", ERROR),
        ),
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
            Answer(
                400,
                "Nothing can be made of the body: it is not UTF-8, is nested too deeply, or holds NaN, Infinity or a "
                "number that is too large to be read.",
                _DETAIL,
            ),
            Answer(413, "The body is too large.", _DETAIL),
            Answer(
                422,
                "The body is not JSON (`loc` tells from where on), or a field is not valid (`loc` tells which). "
                f"`input` repeats what stands there, up to about {MAX_ECHO_BYTES} bytes.",
                "ValidationErrors",
            ),
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
            Answer(422, "A parameter is not valid.", ERROR),
            Answer(503, "Postgres does not answer.", ERROR),
        ),
        parameters=(
            PET,
            page_size("Jobs", jobs.MAX_PAGE),
            CURSOR,
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
            Answer(404, "No such job is known (yet).", ERROR),
            Answer(409, "Several pets have a job with this id.", ERROR),
            Answer(422, "`pet_id` is not a valid id.", ERROR),
            Answer(503, "Postgres does not answer.", ERROR),
        ),
        parameters=(
            Parameter("job_id", "path", "The job's id, of the same form as a pet's; no job has any other."),
            Parameter("pet_id", "query", "Whose job; without it, an id that several pets' jobs have is a 409."),
        ),
    ),
)

_LETTER: Final = Parameter("id", "path", "The letter's id, a UUID.")
_LETTERS: Final = "/internal/dead-letters"
_TIME: Final = {"format": "date-time"}
_BROKEN_BODY: Final = Answer(400, "The body breaks off, or is not compressed as its header says.", _DETAIL)
_LETTERS_UNAVAILABLE: Final = Answer(503, "Postgres or Kafka does not answer; send the same again.", ERROR)


def _act_on_one(kind: ActionKind, summary: str, refusal: str) -> Route:
    return Route(
        "POST",
        f"{_LETTERS}/{{id}}/{kind}",
        f"{kind}_dead_letter",
        summary,
        partial(dead_letters.act_on_one, kind),
        (
            Answer(
                202, "The broker has the actions; a repeat gives the same ones and changes nothing.", "ActedEnvelope"
            ),
            _BROKEN_BODY,
            Answer(404, "No such letter is known (yet).", ERROR),
            Answer(409, refusal, ERROR),
            Answer(413, "The body is too large.", _DETAIL),
            Answer(422, "The body is not valid.", ERROR),
            _LETTERS_UNAVAILABLE,
        ),
        parameters=(_LETTER,),
        body="LetterBody",
    )


def _act_on_all(kind: ActionKind, summary: str) -> Route:
    return Route(
        "POST",
        f"{_LETTERS}/{kind}",
        f"{kind}_dead_letters",
        summary,
        partial(dead_letters.act_on_all, kind),
        (
            Answer(
                200, "Without `expected_count`: how many letters the filter takes. Nothing was done.", "CountedEnvelope"
            ),
            Answer(
                202, "The broker has the actions. `refused` names letters that nothing was done about.", "ActedEnvelope"
            ),
            _BROKEN_BODY,
            Answer(409, "The filter takes another number of letters now, or too many.", ERROR),
            Answer(413, "The body is too large.", _DETAIL),
            Answer(422, "The body is not valid.", ERROR),
            _LETTERS_UNAVAILABLE,
        ),
        body="LettersBody",
    )


_DEAD_LETTERS: Final = (
    Route(
        "GET",
        _LETTERS,
        "list_dead_letters",
        "Dead letters, newest first; the open ones unless `state` says otherwise.",
        dead_letters.list_letters,
        (
            Answer(200, "A page.", "DeadLettersEnvelope"),
            Answer(422, "A parameter is not valid, or not known.", ERROR),
            Answer(503, "Postgres does not answer.", ERROR),
        ),
        parameters=(
            Parameter("state", "query", "`open` unless given.", limits={"enum": get_args(FilterState)}),
            Parameter("subject", "query", "What it is about.", limits={"enum": get_args(Subject)}),
            Parameter("kind", "query", "The cause's word, e.g. `not_found`."),
            Parameter("pet_id", "query", "Of this pet."),
            Parameter("job_id", "query", "Of this job."),
            Parameter("since", "query", "Failed at this time or later, RFC 3339.", limits=_TIME),
            Parameter("until", "query", "Failed before this time, RFC 3339.", limits=_TIME),
            page_size("Letters", dead_letters.MAX_PAGE),
            CURSOR,
        ),
    ),
    Route(
        "GET",
        f"{_LETTERS}/{{id}}",
        "get_dead_letter",
        "One dead letter with its payload.",
        dead_letters.get_letter,
        (
            Answer(200, "The letter.", "DeadLetterEnvelope"),
            Answer(404, "No such letter is known (yet).", ERROR),
            Answer(503, "Postgres does not answer.", ERROR),
        ),
        parameters=(_LETTER,),
    ),
    _act_on_one(
        "requeue", "Submit what a letter is about again.", "Nothing can be submitted again; the message says why."
    ),
    _act_on_one("discard", "Mark a letter as done with.", "It was requeued already."),
    _act_on_all("requeue", "Submit what a filter's letters are about again; a count first."),
    _act_on_all("discard", "Mark a filter's letters as done with; a count first."),
)

# The first route that fits a path answers it: fixed words stand before parameters.
ROUTES: Final = (
    *_HEALTH,
    *_JOBS,
    JOBS_BY_STATE,
    *CURRENT_CLUSTERS,
    *CLUSTER_HISTORY,
    *DECISIONS,
    *SIMILAR,
    *PURGES,
    *_DEAD_LETTERS,
    *_REBUILDS,
)
