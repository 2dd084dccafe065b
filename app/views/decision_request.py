"""Bodies and queries of the routes about decisions → validated values. Pure; called by `app.views.decisions`."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar, get_args

import msgspec

from app.decisions.draft import Draft, parse
from app.views import errors
from app.views.errors import ApiError
from app.views.letter_request import Who, Why, parse_body
from projections.cursors import INT64_MAX
from projections.decision_reader import DecisionFilter, DecisionState
from schemas.decisions import KINDS
from schemas.errors import InvalidInput
from schemas.ids import ID_PATTERN, cluster_number, is_id

DecisionId = Annotated[str, msgspec.Meta(pattern=f"^{ID_PATTERN.pattern}$", max_length=128)]
Value = TypeVar("Value")


class DecisionBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is decided, by whom and why, while looking at `expected_version`. `decision_id`: for callers who repeat what
    was not confirmed; made unless given.
    """

    kind: str
    arguments: dict[str, Any]
    expected_version: Annotated[int, msgspec.Meta(ge=1, le=INT64_MAX)]
    who: Who
    why: Why
    decision_id: DecisionId | None = None


def parse_decision(pet_id: str, raw: bytes) -> Draft:
    """A body. Raises ApiError naming the field."""
    body = parse_body(raw, DecisionBody)
    if body.decision_id is not None and not is_id(body.decision_id):  # the pattern lets a line's end pass
        raise ApiError(errors.INVALID_BODY, "is not a valid id", field="decision_id")
    try:
        arguments = parse(pet_id, body.kind, body.arguments)
    except InvalidInput as error:
        raise ApiError(errors.INVALID_BODY, error.reason, field=error.field) from None
    return Draft(
        pet_id=pet_id,
        decision_id=body.decision_id or str(uuid.uuid4()),
        may_be_known=body.decision_id is not None,
        kind=body.kind,
        arguments=arguments,
        expected_version=body.expected_version,
        who=body.who,
        why=body.why,
    )


def parse_filter(pet_id: str, query: Mapping[str, str]) -> DecisionFilter:
    """The filter of a list. Raises ApiError naming the parameter."""
    state: DecisionState | None = _one_of(query, "state", get_args(DecisionState))
    image_id, cluster, number = query.get("image_id"), query.get("cluster"), None
    if image_id is not None and not is_id(image_id):
        raise ApiError(errors.INVALID_PARAMETER, "is not a valid id", field="image_id")
    if cluster is not None:
        number = cluster_number(pet_id, cluster)
        if number is None:
            raise ApiError(errors.INVALID_PARAMETER, "is not the id of a cluster of the pet", field="cluster")
    return DecisionFilter(_one_of(query, "kind", tuple(KINDS)), state, number, image_id)


def _one_of(query: Mapping[str, str], name: str, values: tuple[Value, ...]) -> Value | None:
    if name not in query:
        return None
    for value in values:
        if value == query[name]:
            return value
    raise ApiError(errors.INVALID_PARAMETER, f"must be one of {', '.join(map(str, values))}", field=name)
