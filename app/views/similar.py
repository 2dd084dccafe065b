"""Views of the search across pets: what of other pets is near to a photo or to a cluster. One owner's data goes to
another's caller here, so beside the token of `/internal` these need a token of their own, and none is no access.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, get_args

from aiohttp import web

from app.views import errors
from app.views.auth import is_among
from app.views.errors import ApiError
from app.views.history import found, successor
from app.views.history_request import parse_cluster, parse_id
from app.views.jobs import page_limit
from app.views.responses import envelope, json_response, struct_bytes
from app.views.services import WebServices
from projections.missing import MergedAway
from projections.similar.search import Ask, Kind, NotIndexed, Similar
from schemas.ids import is_id

HEADER: Final = "X-Similarity-Token"
MAX_NEAREST: Final = 100
DEFAULT_NEAREST: Final = 20
MAX_EXCLUDED: Final = 100
KINDS: Final = get_args(Kind)
_MAX_MODEL: Final = 128


async def similar_to_image(services: WebServices, request: web.Request) -> web.Response:
    """What of other pets is near to an image that lies in a pet's album."""
    _check_allowed(services, request)
    pet_id, image_id = (parse_id(request.match_info, name) for name in ("pet_id", "image_id"))
    ask = parse_ask(request.query)
    try:
        return _answer(await found(services, services.similar.of_image(pet_id, image_id, ask)))
    except NotIndexed as error:
        raise ApiError(errors.NOT_INDEXED, f"{image_id}: {error}") from None


async def similar_to_cluster(services: WebServices, request: web.Request) -> web.Response:
    """What of other pets is near to a cluster of a pet."""
    _check_allowed(services, request)
    pet_id, name = parse_id(request.match_info, "pet_id"), request.match_info["cluster"]
    number, ask = parse_cluster(name, pet_id), parse_ask(request.query)
    try:
        return _answer(await found(services, services.similar.of_cluster(pet_id, number, ask)))
    except MergedAway as gone:
        return successor(request, pet_id, gone.heir, "similar")
    except NotIndexed as error:
        raise ApiError(errors.NOT_INDEXED, f"{name}: {error}") from None


def parse_ask(query: Mapping[str, str]) -> Ask:
    """The query. Raises ApiError naming the parameter that is not valid."""
    limit = page_limit(query["limit"], MAX_NEAREST) if "limit" in query else DEFAULT_NEAREST
    return Ask(
        limit=limit,
        min_cosine=_cosine(query.get("min_cosine", "-1")),
        kinds=_kinds(query.get("kinds")),
        exclude=_pets(query.get("exclude_pets", "")),
        model=_model(query.get("model")),
    )


def _check_allowed(services: WebServices, request: web.Request) -> None:
    if not services.similarity_tokens:
        raise ApiError(errors.SIMILARITY_OFF)
    if not is_among(request.headers.get(HEADER, ""), [token.encode() for token in services.similarity_tokens]):
        raise ApiError(errors.SIMILARITY_FORBIDDEN)


def _answer(similar: Similar) -> web.Response:
    return json_response(envelope(struct_bytes(similar)))


def _cosine(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not -1 <= value <= 1:
        raise _invalid("min_cosine", "must be a number from -1 to 1")
    return value


def _kinds(text: str | None) -> frozenset[Kind]:
    asked = set(KINDS) if text is None else set(text.split(","))
    if not asked <= set(KINDS):
        raise _invalid("kinds", f"must be of {', '.join(KINDS)}, comma-separated")
    return frozenset(kind for kind in KINDS if kind in asked)


def _pets(text: str) -> tuple[str, ...]:
    pets = tuple(text.split(",")) if text else ()
    if len(pets) > MAX_EXCLUDED or not all(map(is_id, pets)):
        raise _invalid("exclude_pets", f"must be at most {MAX_EXCLUDED} ids, comma-separated")
    return pets


def _model(text: str | None) -> str | None:
    if text is not None and (not 1 <= len(text) <= _MAX_MODEL or not text.isprintable()):
        raise _invalid("model", f"must be 1 to {_MAX_MODEL} printable characters, as efficientnet-lite0@1")
    return text


def _invalid(name: str, reason: str) -> ApiError:
    return ApiError(errors.INVALID_PARAMETER, reason, field=name)
