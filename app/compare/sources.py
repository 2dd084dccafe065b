"""Where a pet's answer comes from: the predecessor's API or Redis, this service's API. Called by `app.compare.run`.

Each source is asked for one pet at a time and says how long its answer took.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Final, Protocol

import aiohttp
import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.compare.albums import Album, own_album, own_answer, predecessor_album
from app.views.auth import HEADER
from app.views.errors import NO_CLUSTERS_DETAIL
from projections.cache import stored_position
from schemas.answers import ClusterAnswer

PAGE: Final = 200
_NONE: Final = {"detail": NO_CLUSTERS_DETAIL}
_BAD_ANSWER: Final = (ValueError, msgspec.DecodeError)


class Unanswered(Exception):
    """A source did not answer for this pet, or not with an answer; the text says why and holds no secret."""


@dataclass(frozen=True)
class Asked:
    """The album, None where the source has none of this pet, and the seconds until its answer was there."""

    album: Album | None
    seconds: float


class Source(Protocol):
    """Raises Unanswered."""

    async def ask(self, pet_id: str) -> Asked:
        """The pet's album."""
        ...


class PredecessorApi:
    """`GET {base}/internal/pets/{pet_id}/clusters` of the predecessor."""

    def __init__(self, http: aiohttp.ClientSession, base: str, token: str) -> None:
        self._api = _Api(http, base, token)

    async def ask(self, pet_id: str) -> Asked:
        """The pet's album."""
        body, seconds = await self._api.clusters(pet_id)
        try:
            return Asked(None if body is None else predecessor_album(body, pet_id), seconds)
        except _BAD_ANSWER as error:
            raise Unanswered(f"no answer of the predecessor: {error}") from error


class PredecessorRedis:
    """The keys ``{namespace}:state:{pet_id}`` that the predecessor writes; only read."""

    def __init__(self, redis: Redis, namespace: str, timeout: float) -> None:
        self._redis: Any = redis  # whether it decodes is the client's own setting
        self._namespace = namespace
        self._timeout = timeout

    async def ask(self, pet_id: str) -> Asked:
        """The pet's album."""
        started = time.perf_counter()
        try:
            async with asyncio.timeout(self._timeout):
                value = await self._redis.get(f"{self._namespace}:state:{pet_id}")
        except TimeoutError:
            raise Unanswered(f"no answer within {self._timeout:g} s") from None
        except (RedisError, OSError) as error:
            raise Unanswered(f"{type(error).__name__}: {error}") from error
        seconds = time.perf_counter() - started
        try:
            if value is not None and stored_position(value):
                raise ValueError("this is an answer of this service, not of the predecessor")
            return Asked(None if value is None else predecessor_album(value, pet_id), seconds)
        except _BAD_ANSWER as error:
            raise Unanswered(f"no answer of the predecessor: {error}") from error


class OwnApi:
    """Our own API. What an answer does not list, its members are read for page by page at the same version."""

    def __init__(self, http: aiohttp.ClientSession, base: str, token: str) -> None:
        self._api = _Api(http, base, token)

    async def ask(self, pet_id: str) -> Asked:
        """The pet's album, whole."""
        body, seconds = await self._api.clusters(pet_id)
        if body is None:
            return Asked(None, seconds)
        try:
            answer = own_answer(body, pet_id)
            cut = [each.id for each in answer.clusters if len(each.members) < each.member_count]
            more = {cluster: await self._members(answer, cluster) for cluster in cut}
            all_listed = len(answer.unclustered) == answer.unclustered_count
            loose = None if all_listed else await self._members(answer, "unclustered")
            return Asked(own_album(answer, more, loose), seconds)
        except _BAD_ANSWER as error:
            raise Unanswered(f"no answer of this service: {error}") from error

    async def _members(self, answer: ClusterAnswer, cluster: str) -> tuple[str, ...]:
        found: list[str] = []
        path = f"/internal/pets/{answer.pet_id}/clusters/{cluster}/members"
        page: dict[str, str] = {"version": str(answer.version), "limit": str(PAGE)}
        while True:
            status, body = await self._api.get(path, page)
            if status != 200:
                raise Unanswered(_told(status, body))
            document = _members.decode(body)
            found += [member.image_id for member in document.data]
            if document.meta.next_cursor is None:
                return tuple(found)
            page["cursor"] = document.meta.next_cursor


class _Api:
    """What both APIs have in common."""

    def __init__(self, http: aiohttp.ClientSession, base: str, token: str) -> None:
        self._http = http
        self._base = base.rstrip("/")
        self._token = token

    async def clusters(self, pet_id: str) -> tuple[bytes | None, float]:
        """The body, None for a pet without clusters, and the seconds that it took."""
        started = time.perf_counter()
        status, body = await self.get(f"/internal/pets/{pet_id}/clusters", {})
        seconds = time.perf_counter() - started
        if status == 200:
            return body, seconds
        # Another 404 is another service's, or another path's.
        if status == 404 and _detail(body) == _NONE:
            return None, seconds
        raise Unanswered(_told(status, body))

    async def get(self, path: str, query: dict[str, str]) -> tuple[int, bytes]:
        """Status and body. Raises Unanswered."""
        try:
            async with self._http.get(
                self._base + path, params=query, headers={HEADER: self._token}, allow_redirects=False
            ) as response:
                return response.status, await response.read()
        except TimeoutError:
            raise Unanswered(f"no answer within {self._http.timeout.total:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise Unanswered(f"{type(error).__name__}: {error}") from error


class _PageMember(msgspec.Struct):
    image_id: str


class _PageMeta(msgspec.Struct):
    next_cursor: str | None = None


class _Page(msgspec.Struct):
    data: list[_PageMember]
    meta: _PageMeta


_members = msgspec.json.Decoder(_Page)


def _detail(body: bytes) -> object:
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        return None


def _told(status: int, body: bytes) -> str:
    return f"HTTP {status}: {body[:200].decode('utf-8', 'replace')}"
