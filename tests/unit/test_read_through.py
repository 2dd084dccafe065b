"""What a read of current clusters asks of which store, and what it says about its answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from app.views.cache_status import cache_status
from projections.cache import CachedAnswer
from projections.read_through import Read, ReadThrough
from schemas.answers import encode_answer
from tests.unit.read_rig import PET, FakeStore, Reads, answer, eventually


@pytest.fixture
async def reads() -> Reads:
    return Reads()


@pytest.fixture
async def watched(reads: Reads) -> AsyncIterator[Reads]:
    """Reads that ping their stores."""
    await reads.answers.start()
    yield reads
    await reads.answers.stop()


async def test_what_is_cached_is_read_without_the_store(reads: Reads) -> None:
    reads.store.last = 4
    reads.cached(3)
    read = await reads.answers.read(PET)
    assert (read.answer, read.version, cache_status(read)) == (encode_answer(answer(3)), 3, "media-clusters; hit")
    assert (reads.store.reads.calls, reads.counts.of) == (0, {"cache": 1})


async def test_what_is_not_cached_is_read_from_the_store_and_cached(reads: Reads) -> None:
    reads.store.last = 4
    read = await reads.answers.read(PET)
    assert (read.answer, read.version) == (encode_answer(answer(4)), 4)
    assert cache_status(read) == "media-clusters; fwd=uri-miss; stored"
    assert reads.cache.held[PET] == read.answer
    assert reads.counts.of == {"store": 1}


async def test_a_stampede_on_one_pet_makes_one_query(reads: Reads) -> None:
    reads.store.last = 4
    reads.store.reads.opened.clear()
    stampede = [asyncio.create_task(reads.answers.read(PET)) for _ in range(100)]
    await eventually(lambda: reads.store.reads.calls > 0)
    reads.store.reads.opened.set()
    got = await asyncio.gather(*stampede)
    assert reads.store.reads.calls == 1
    assert {read.answer for read in got} == {encode_answer(answer(4))}
    assert reads.counts.of == {"store": 1, "shared": 99}
    assert [cache_status(read) for read in got if read.origin == "shared"] == [
        "media-clusters; fwd=uri-miss; stored; collapsed"
    ] * 99


async def test_a_stampede_on_a_pet_that_was_never_clustered_makes_one_query_too(reads: Reads) -> None:
    reads.store.reads.opened.clear()
    stampede = [asyncio.create_task(reads.answers.read(PET)) for _ in range(100)]
    await eventually(lambda: reads.store.reads.calls > 0)
    reads.store.reads.opened.set()
    assert {read.answer for read in await asyncio.gather(*stampede)} == {None}
    assert (reads.store.reads.calls, reads.counts.of) == (1, {"none": 100})


async def test_an_error_of_the_store_is_told_and_the_next_read_asks_again(reads: Reads) -> None:
    reads.store.reads.error = ConnectionResetError("cut off")
    with pytest.raises(ConnectionResetError):
        await reads.answers.read(PET)
    reads.store.reads.error, reads.store.last = None, 1
    assert (await reads.answers.read(PET)).version == 1


async def test_a_store_that_hangs_ends_the_read_in_time_though_it_heeds_no_cancellation(reads: Reads) -> None:
    release = asyncio.Event()

    async def deaf(pet_id: str) -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    reads.store.latest_answer = deaf  # type: ignore[method-assign]
    async with asyncio.timeout(5):
        with pytest.raises(TimeoutError):
            await reads.answers.read(PET)
    release.set()


async def test_while_redis_is_away_the_store_answers(reads: Reads) -> None:
    reads.store.last = 4
    reads.cache.shut()
    read = await reads.answers.read(PET)
    assert (read.version, cache_status(read)) == (4, "media-clusters; fwd=bypass; detail=cache-unavailable")


async def test_a_redis_that_is_known_to_be_away_is_asked_by_pings_only(watched: Reads) -> None:
    watched.store.last = 4
    watched.cache.calls.opened.clear()
    asked: list[str] = []
    original = watched.cache.find

    async def find(pet_id: str) -> CachedAnswer | None:
        asked.append(pet_id)
        return await original(pet_id)

    watched.cache.find = find  # type: ignore[method-assign]
    await eventually(lambda: bool(watched.answers._cache_watch and watched.answers._cache_watch.away))
    for _ in range(3):
        assert (await watched.answers.read(PET)).version == 4
    assert asked == []
    watched.cache.calls.opened.set()
    await eventually(lambda: not (watched.answers._cache_watch and watched.answers._cache_watch.away))
    await watched.answers.read(PET)
    assert (await watched.answers.read(PET)).origin == "cache"


async def test_a_redis_that_fails_once_but_answers_pings_is_asked_again(watched: Reads) -> None:
    watched.store.last = 4
    watched.cached(4)
    original = watched.cache.find

    async def fails(pet_id: str) -> CachedAnswer | None:
        raise OSError("once")

    watched.cache.find = fails  # type: ignore[method-assign]
    assert (await watched.answers.read(PET)).origin == "store"
    watched.cache.find = original  # type: ignore[method-assign]
    assert (await watched.answers.read(PET)).origin == "cache"


async def test_a_cached_answer_is_stale_while_the_store_is_away(watched: Reads) -> None:
    watched.cached(3)
    assert (await watched.answers.read(PET)).origin == "cache"
    watched.store.shut(ConnectionRefusedError("away"))
    await eventually(lambda: watched.answers._store_watch.away)
    stale = await watched.answers.read(PET)
    assert (stale.answer, stale.version, stale.origin) == (encode_answer(answer(3)), 3, "stale")
    assert stale.silent_for > 0
    assert watched.counts.of["stale"] == 1
    watched.store.shut(None)
    await eventually(lambda: not watched.answers._store_watch.away)
    assert (await watched.answers.read(PET)).origin == "cache"


async def test_with_both_away_a_read_fails_at_once_and_asks_nobody(watched: Reads) -> None:
    watched.store.shut(ConnectionRefusedError("away"))
    watched.cache.shut()
    await eventually(lambda: watched.answers._store_watch.away)
    before = watched.store.reads.calls
    with pytest.raises(ConnectionError, match="Postgres has not answered for"):
        await watched.answers.read(PET)
    assert watched.store.reads.calls == before


async def test_without_a_cache_the_store_is_read_every_time() -> None:
    store = FakeStore(last=2)
    answers = ReadThrough(store=store, cache=None, cache_seconds=1, store_seconds=1)
    await answers.start()
    for _ in range(2):
        assert cache_status(await answers.read(PET)) == "media-clusters; fwd=bypass"
    await answers.stop()
    assert store.reads.calls == 2


async def test_a_cached_answer_below_what_is_asked_for_is_passed_by(reads: Reads) -> None:
    reads.store.last = 5
    reads.cached(4)
    read = await reads.answers.read(PET, at_least=5)
    assert (read.version, cache_status(read)) == (5, "media-clusters; fwd=request; stored")
    assert (await reads.answers.read(PET, at_least=5)).origin == "cache"


@pytest.mark.parametrize(("silent_for", "ttl"), [(0.01, -1), (1.0, -1), (61.5, -62)])
def test_a_stale_answers_ttl_is_below_zero(silent_for: float, ttl: int) -> None:
    read = Read(b"", 1, "stale", silent_for=silent_for)
    assert cache_status(read) == f"media-clusters; hit; ttl={ttl}; detail=store-unavailable"
