"""The routes about the past of a pet, and about jobs of all pets. Part of the table in `app.views.routes`."""

from __future__ import annotations

from typing import Final, get_args

from app.views import history
from app.views.history_request import MAX_PAGE, UNCLUSTERED_NAME
from app.views.route import CURSOR, ERROR, NONE_MATCH, PET, UNCHANGED, Answer, Parameter, Route, page_size
from projections.cursors import INT64_MAX
from schemas.public import JobState

_VERSION: Final = {"minimum": 1, "maximum": INT64_MAX}
_AT: Final = Parameter("version", "query", "At which version; else the last.", "integer", _VERSION)
_PAGE: Final = (page_size("Rows", MAX_PAGE), CURSOR)
_CACHED: Final = ("Cache-Control",)
_GONE: Final = Answer(
    410,
    "Retention has removed the version, and a rebuild brings it back from the log; or a purge has destroyed it.",
    ERROR,
)
_INVALID: Final = Answer(422, "A parameter is not valid, or not known.", ERROR)
_AWAY: Final = Answer(503, "Postgres does not answer.", ERROR)
_NO_PET: Final = Answer(404, "The pet was never clustered, or was purged.", ERROR)
_IMAGE: Final = Parameter("image_id", "path", "The image's id, of the same form as a pet's.")
_PETS: Final = "/internal/pets/{pet_id}"

CLUSTER_HISTORY: Final = (
    Route(
        "GET",
        f"{_PETS}/clusters/as-of",
        "get_clusters_as_of",
        "The clusters that a pet had at a time: its last version with an `updated_at` not later than that.",
        history.get_as_of,
        (
            Answer(200, "The clusters.", "AsOfEnvelope", headers=("ETag",)),
            UNCHANGED,
            Answer(404, "The pet had no version yet.", ERROR),
            _GONE,
            _INVALID,
            _AWAY,
        ),
        parameters=(
            PET,
            Parameter("time", "query", "RFC 3339 with its zone.", limits={"format": "date-time"}, required=True),
            NONE_MATCH,
        ),
        only_known=True,
    ),
    Route(
        "GET",
        f"{_PETS}/clusters/{{version}}",
        "get_clusters_at",
        "A pet's clusters at a version, which never change.",
        history.get_version,
        (
            Answer(200, "The clusters.", "ClustersEnvelope", headers=("ETag", *_CACHED)),
            Answer(304, "The caller holds this version already.", headers=("ETag", *_CACHED)),
            Answer(404, "The pet has not had this version (yet).", ERROR),
            _GONE,
            _INVALID,
            _AWAY,
        ),
        parameters=(PET, Parameter("version", "path", "The version.", "integer", _VERSION), NONE_MATCH),
        only_known=True,
    ),
    Route(
        "GET",
        f"{_PETS}/clusters/{{cluster}}/members",
        "list_members",
        "All members of a cluster, best recorded score first. All pages of a list are of one version.",
        history.list_members,
        (
            Answer(200, "A page.", "MembersEnvelope"),
            Answer(
                308,
                "The cluster was merged: its successor.",
                "SuccessorEnvelope",
                headers=("Location",),
            ),
            Answer(404, "The pet has no such cluster at that version.", ERROR),
            _GONE,
            _INVALID,
            _AWAY,
        ),
        parameters=(
            PET,
            Parameter(
                "cluster",
                "path",
                f"The cluster's id, or `{UNCLUSTERED_NAME}` for the images in no cluster.",
            ),
            _AT,
            *_PAGE,
        ),
        only_known=True,
    ),
    Route(
        "GET",
        f"{_PETS}/clusters/{{cluster}}/lineage",
        "get_lineage",
        "Where a cluster comes from, how it was called and by whose decision, and what became of it.",
        history.get_lineage,
        (
            Answer(200, "Its lineage; `successor` has the members of one that was merged.", "LineageEnvelope"),
            Answer(404, "The pet has had no such cluster in what is kept.", ERROR),
            _INVALID,
            _AWAY,
        ),
        parameters=(PET, Parameter("cluster", "path", "The cluster's id.")),
        only_known=True,
    ),
    Route(
        "GET",
        f"{_PETS}/versions",
        "list_versions",
        "A pet's versions that are kept, newest first.",
        history.list_versions,
        (Answer(200, "A page.", "VersionsEnvelope"), _NO_PET, _INVALID, _AWAY),
        parameters=(PET, *_PAGE),
        only_known=True,
    ),
    Route(
        "GET",
        f"{_PETS}/diff",
        "get_difference",
        "What changed from a version to a later one: clusters by number, then images by id.",
        history.get_difference,
        (
            Answer(200, "A page.", "DifferenceEnvelope", headers=_CACHED),
            Answer(404, "The pet has not had one of the versions (yet).", ERROR),
            _GONE,
            _INVALID,
            _AWAY,
        ),
        parameters=(
            PET,
            Parameter("from", "query", "The earlier version.", "integer", _VERSION, required=True),
            Parameter("to", "query", "The later version.", "integer", _VERSION, required=True),
            *_PAGE,
        ),
        only_known=True,
    ),
    Route(
        "GET",
        f"{_PETS}/images/{{image_id}}",
        "list_places_of_image",
        "In which cluster an image lay since which version, the present one first.",
        history.list_places,
        (
            Answer(200, "A page.", "PlacesEnvelope"),
            Answer(404, "The pet has no such image in any kept version.", ERROR),
            _INVALID,
            _AWAY,
        ),
        parameters=(PET, _IMAGE, *_PAGE),
        only_known=True,
    ),
    Route(
        "GET",
        f"{_PETS}/images/{{image_id}}/why",
        "get_why",
        "Why an image lies in its cluster, from what was recorded when it was placed: rule, scores, event, policy.",
        history.get_why,
        (
            Answer(200, "Why.", "WhyEnvelope"),
            Answer(404, "The pet has no such image at that version.", ERROR),
            _GONE,
            _INVALID,
            _AWAY,
        ),
        parameters=(
            PET,
            _IMAGE,
            _AT,
        ),
        only_known=True,
    ),
)

JOBS_BY_STATE: Final = Route(
    "GET",
    "/internal/jobs",
    "list_jobs_by_state",
    "All pets' jobs that have a state now, newest first.",
    history.list_jobs_by_state,
    (Answer(200, "A page.", "JobsEnvelope"), _INVALID, _AWAY),
    parameters=(
        Parameter("state", "query", "The state.", limits={"enum": get_args(JobState)}, required=True),
        *_PAGE,
    ),
    only_known=True,
)
