"""The Redis cache of current answers. Written by the projector and by views that read through; `invalidate` drops.

Of a purged pet it holds a mark at the pet's next version, so that a late writer does not bring an answer back.

A value is the answer's own bytes, which end in ``"generation":G,"version":V}``. A writer's (G, V) is compared with the
stored one inside Redis, so that no writer, however late, puts an older answer over a newer one.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
from redis.asyncio import Redis

from projections.grouped_gets import GroupedGets

_TAIL: Final = re.compile(rb'"generation":(\d+),"version":(\d+)\}$')
_TAIL_BYTES: Final = 64
SCAN_KEYS: Final = 500
"""That Redis looks at in one go, while nobody else is served."""

# A value without that tail (the predecessor's, or one of another type) has no version and is replaced.
_PUT: Final = r"""
local stored = redis.pcall('GETRANGE', KEYS[1], -64, -1)
if type(stored) == 'string' then
    local generation, version = string.match(stored, '"generation":(%d+),"version":(%d+)}$')
    if generation then
        generation, version = tonumber(generation), tonumber(version)
        local new_generation, new_version = tonumber(ARGV[2]), tonumber(ARGV[3])
        if generation > new_generation or (generation == new_generation and version > new_version) then
            return 0
        end
    end
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[4])
return 1
"""

_MARK: Final = b'{"purged":true,'
_DROP: Final = r"""
if redis.call('EXISTS', KEYS[1]) == 0 or redis.pcall('GETRANGE', KEYS[1], 0, #ARGV[1] - 1) == ARGV[1] then
    return 0
end
return redis.call('DEL', KEYS[1])
"""


class CachedAnswer(msgspec.Struct, frozen=True):
    """An answer's bytes and the version in them. One object may be told to many readers."""

    answer: bytes
    version: int


def stored_position(answer: bytes) -> tuple[int, int] | None:
    """(generation, version) of an answer's bytes, None when they are not ours."""
    match = _TAIL.search(answer[-_TAIL_BYTES:])
    return (int(match[1]), int(match[2])) if match else None


def same_but_for_generation(answer: bytes, other: bytes) -> bool:
    """Whether two answers say the same, of the same version."""
    return _TAIL.sub(rb'"version":\2}', answer) == _TAIL.sub(rb'"version":\2}', other)


class AnswerCache:
    """Answers under ``{namespace}:state:{pet_id}``. Every method raises redis.RedisError while Redis is away, `get` and
    `find` TimeoutError when they take longer than `get_seconds`.
    """

    def __init__(self, redis: Redis, *, namespace: str, ttl_seconds: int, get_seconds: float = 5.0) -> None:
        self._redis = redis
        self._gets = GroupedGets(redis, parse=_parse, seconds=get_seconds)
        self._namespace = namespace
        self._ttl_seconds = ttl_seconds
        self._put: Any = redis.register_script(_PUT)
        self._drop: Any = redis.register_script(_DROP)

    def key(self, pet_id: str) -> str:
        """The key of a pet's answer."""
        return f"{self._namespace}:state:{pet_id}"

    async def get(self, pet_id: str) -> bytes | None:
        """The cached answer's bytes; None when there is none, a purge's mark, or one that another service wrote."""
        found = await self.find(pet_id)
        return None if found is None else found.answer

    async def find(self, pet_id: str) -> CachedAnswer | None:
        """The same with the answer's version."""
        return await self._gets.get(self.key(pet_id))

    async def put(self, pet_id: str, answer: bytes, generation: int, version: int) -> bool:
        """Store `answer` unless a newer one is stored; an equal one is stored again with a fresh TTL."""
        stored = await self._put(keys=[self.key(pet_id)], args=[answer, generation, version, self._ttl_seconds])
        return bool(stored)

    async def pets(self) -> AsyncIterator[str]:
        """The pets under whose keys something is cached, ours or not; one may be told more than once."""
        prefix = self.key("")
        async for key in self._redis.scan_iter(match=_literally(prefix) + "*", count=SCAN_KEYS):
            yield (key.decode() if isinstance(key, bytes) else key).removeprefix(prefix)

    async def ping(self) -> None:
        """Returns when Redis answers."""
        await self._redis.ping()

    async def put_mark(self, pet_id: str, generation: int, last_version: int) -> bool:
        """Put the mark of a purged pet in the answer's place, unless an answer of its next version is stored."""
        version = last_version + 1
        mark = _MARK + f'"generation":{generation},"version":{version}}}'.encode()
        return await self.put(pet_id, mark, generation, version)

    async def invalidate(self, pet_id: str) -> bool:
        """Drop the cached answer; False when there was none. A purge's mark stays."""
        return bool(await self._drop(keys=[self.key(pet_id)], args=[_MARK]))


def _parse(value: bytes | str | None) -> CachedAnswer | None:
    if value is None:
        return None
    answer = value.encode() if isinstance(value, str) else value
    position = stored_position(answer)
    return None if position is None or answer.startswith(_MARK) else CachedAnswer(answer, position[1])


def _literally(text: str) -> str:
    """The text as a pattern of Redis that matches itself."""
    return re.sub(r"([\\*?\[\]])", r"\\\1", text)
