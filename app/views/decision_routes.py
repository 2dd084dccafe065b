"""The routes of users' decisions. Part of the table in `app.views.routes`."""

from __future__ import annotations

from typing import Final, get_args

from app.views import decisions
from app.views.history_request import MAX_PAGE
from app.views.route import CURSOR, ERROR, PET, Answer, Parameter, Route, page_size
from projections.decision_reader import DecisionState
from schemas.decisions import KINDS

_DECISIONS: Final = "/internal/pets/{pet_id}/decisions"
_AWAY: Final = Answer(503, "Postgres does not answer.", ERROR)

DECISIONS: Final = (
    Route(
        "POST",
        _DECISIONS,
        "decide",
        "Decide something about a pet's album: later photos and recomputations keep to it.",
        decisions.decide,
        (
            Answer(
                200,
                "A repeat of a decision that was carried out before, as it stands now.",
                "DecisionEnvelope",
                headers=("Location",),
            ),
            Answer(201, "It is carried out: `version` shows it.", "DecisionEnvelope", headers=("Location",)),
            Answer(
                202,
                "The broker has it, and what becomes of it is not known yet: `Location` will tell.",
                "PendingDecisionEnvelope",
                headers=("Location",),
            ),
            Answer(400, "The body breaks off, or is not compressed as its header says.", "Detail"),
            Answer(404, "The pet was never clustered, or was purged.", ERROR),
            Answer(
                409,
                "It is refused; `refusal` and `message` say why, `successor` which cluster has the members of one that "
                "was merged. Or the pet is not at `expected_version` yet, or has another decision of this id.",
                ERROR,
            ),
            Answer(413, "The body is too large.", "Detail"),
            Answer(422, "The pet's id or the body is not valid.", ERROR),
            Answer(
                503,
                "Kafka or Postgres does not answer; send the same again, best with a `decision_id`.",
                ERROR,
            ),
        ),
        parameters=(PET, Parameter("traceparent", "header", "W3C trace context, passed on with the decision.")),
        body="DecisionBody",
    ),
    Route(
        "GET",
        _DECISIONS,
        "list_decisions",
        "A pet's decisions with what became of them, newest first.",
        decisions.list_decisions,
        (
            Answer(200, "A page.", "DecisionsEnvelope"),
            Answer(422, "A parameter is not valid, or not known.", ERROR),
            _AWAY,
        ),
        parameters=(
            PET,
            Parameter("kind", "query", "Of this kind.", limits={"enum": list(KINDS)}),
            Parameter("state", "query", "In this state.", limits={"enum": get_args(DecisionState)}),
            Parameter("cluster", "query", "That name this cluster, or are about it."),
            Parameter("image_id", "query", "That name this image."),
            page_size("Decisions", MAX_PAGE),
            CURSOR,
        ),
        only_known=True,
    ),
    Route(
        "GET",
        f"{_DECISIONS}/{{decision_id}}",
        "get_decision",
        "A decision and what became of it.",
        decisions.get_decision,
        (
            Answer(200, "The decision.", "DecisionEnvelope"),
            Answer(404, "The pet has no decision of this id, or it is not settled yet.", ERROR),
            Answer(422, "The pet's id is not valid.", ERROR),
            _AWAY,
        ),
        parameters=(PET, Parameter("decision_id", "path", "The decision's id, of the same form as a pet's.")),
    ),
)
