"""The row store under crashes: whatever dies between any two puts, nothing is lost and nothing counts twice.

A small world stands in for the broker: a changelog that keeps a prefix of what was published, outputs that arrived, a
committed offset that lags behind, and two workers, each with a local store that survives its crash or is wiped. The
rules of the real one are agents.delivery's; tests/e2e runs the same audit on a real broker.
"""

from __future__ import annotations

import contextlib
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import decode_change, decode_fact
from schemas.errors import StopProcess
from schemas.facts import PetPurged
from tables.log import fold_record
from tables.outputs import Output
from tables.rows import is_head, is_purge_row, supersedes
from tables.store import Applied, PetStore
from tests.decided_albums import RandomUser
from tests.unit.test_fold import TIME, burst_log, entry, fold

PETS = ("pet_a", "pet_b", "pet_c")


def album_log(seed: int) -> list[tuple[bytes, bytes]]:
    """Three albums, interleaved."""
    logs = [deque(burst_log(seed + n, bursts=3, shots=4, size=2, pet=pet)) for n, pet in enumerate(PETS)]
    rng, merged = random.Random(seed), []
    while any(logs):
        merged.append(rng.choice([log for log in logs if log]).popleft())
    return merged


def purged_log(seed: int) -> list[tuple[bytes, bytes]]:
    """The same, with two purges of the first pet somewhere among the events."""
    rng, log = random.Random(seed), album_log(seed)
    for purge_id in ("p1", "p2"):
        fact = PetPurged(purge_id=purge_id, accepted_until=TIME)
        log.insert(rng.randrange(len(log)), entry(fact, PETS[0]))
    return log


def decided_log(seed: int) -> list[tuple[bytes, bytes]]:
    """An album of which users decide something at every other event."""
    user = RandomUser(seed, pet=PETS[0])
    for _ in range(6):
        user.upload()
    for _ in range(12):
        user.decide()
        user.upload() if user.random.random() < 0.7 else user.recompute()
    return user.album.log


class Crash(Exception):
    """The process is killed."""


@dataclass
class Local:
    """One worker's local store, and how much of the changelog it holds."""

    rows: dict[bytes, bytes] = field(default_factory=dict)
    position: int = 0


@dataclass
class World:
    """What survives a crash."""

    rng: random.Random
    make_store: Callable[[dict[bytes, bytes]], PetStore]
    changelog: list[tuple[bytes, bytes | None]] = field(default_factory=list)
    outputs: dict[int, list[Output]] = field(default_factory=dict)
    workers: list[Local] = field(default_factory=lambda: [Local(), Local()])
    committed: int = -1
    generation: int = 0

    def live(self, log: list[tuple[bytes, bytes]], worker: int, sends: int, lag: int) -> None:
        """One life: reads on from what is committed, until `sends` messages are delivered (then Crash) or all is done.

        `lag`: events whose messages wait while later events are folded.
        """
        self.generation += 1
        self.local = self.workers[worker]
        self.recover(self.local)
        store, last = self.make_store(self.local.rows), self.committed
        waiting: deque[tuple[int, Applied]] = deque()
        for offset in range(self.committed + 1, len(log)):
            applied = self._apply(store, log, offset)
            waiting.append((offset, applied))
            while len(waiting) > lag:
                last, sends = self._deliver(*waiting.popleft(), sends)
        while waiting:
            last, sends = self._deliver(*waiting.popleft(), sends)
        self.committed = last

    def _apply(self, store: PetStore, log: list[tuple[bytes, bytes]], offset: int) -> Applied:
        applied = fold_record(store, 0, offset, *log[offset], frontier=self.committed, generation=self.generation)[2]
        for row, content in applied.records:
            if content is None:
                self.local.rows.pop(row, None)
            else:
                self.local.rows[row] = content
        return applied

    def _deliver(self, offset: int, applied: Applied, sends: int) -> tuple[int, int]:
        for record in applied.records:
            sends = self._count(sends)
            self.changelog.append(record)
            self.local.position = len(self.changelog)
        for output in applied.outputs:
            sends = self._count(sends)
            seen = self.outputs.setdefault(offset, [])
            if output not in seen:
                seen.append(output)
        if self.rng.random() < 0.3:
            self.committed = offset
        return offset, sends

    @staticmethod
    def _count(sends: int) -> int:
        if sends == 0:
            raise Crash
        return sends - 1

    def recover(self, local: Local) -> None:
        """Bring a local store up to the changelog's end, as the durable table does."""
        for row, content in self.changelog[local.position :]:
            if content is None:
                local.rows.pop(row, None)
            elif not (is_head(row) and row in local.rows and not supersedes(local.rows[row], content)):
                local.rows[row] = content
        local.position = len(self.changelog)


def survive(
    seed: int,
    make_store: Callable[[dict[bytes, bytes]], PetStore],
    make_log: Callable[[int], list[tuple[bytes, bytes]]] = album_log,
) -> World:
    """Live through a seeded schedule of crashes, then audit."""
    rng, log = random.Random(seed), make_log(seed)
    world = World(rng, make_store)
    for _ in range(rng.randint(2, 8)):
        with contextlib.suppress(Crash):
            world.live(log, worker=rng.randint(0, 1), sends=rng.randint(0, 40), lag=rng.randint(0, 6))
        if rng.random() < 0.3:
            world.workers[rng.randint(0, 1)] = Local()
    world.live(log, worker=rng.randint(0, 1), sends=10**9, lag=3)
    audit(world, log)
    return world


def audit(world: World, log: list[tuple[bytes, bytes]]) -> None:
    offline, expected = fold(log)
    purges = [n for n, (_, value) in enumerate(log) if isinstance(decode_fact(value)[1], PetPurged)]
    for offset, outputs in enumerate(expected):
        sent = world.outputs.get(offset, [])
        if any(offset < purge and log[offset][0] == log[purge][0] for purge in purges):
            assert all(output in outputs for output in sent)  # what the purge erased need not have been sent
        else:
            assert sent == outputs, f"outputs of offset {offset}"
    for pet in {*PETS} - {log[purge][0].decode() for purge in purges}:
        numbers = [
            decode_change(o.value).version
            for offset in sorted(world.outputs)
            for o in world.outputs[offset]
            if o.channel == "versions" and decode_change(o.value).pet_id == pet
        ]
        assert numbers == list(range(1, len(numbers) + 1))
    world.workers.append(Local())
    for local in world.workers:
        world.recover(local)
        for purge in purges:
            left = [row for row in local.rows if of_pet(row, log[purge][0]) and offset_of(row) < purge]
            assert not [row for row in left if not is_purge_row(row)], f"rows of before the purge at {purge}"
        for pet in PETS:
            assert PetStore(local.rows.get).state(pet) == offline.store.state(pet), (
                f"{pet} differs from an offline fold"
            )


def of_pet(row: bytes, pet: bytes) -> bool:
    return row.startswith(pet + b"/") and not is_head(row)


def offset_of(row: bytes) -> int:
    return int(row.rsplit(b"/", 1)[1])


@settings(max_examples=120, deadline=None)
@given(st.integers(0, 1_000_000))
def test_a_purge_survives_any_schedule_of_crashes_and_leaves_no_row(seed: int) -> None:
    survive(seed, lambda local: PetStore(local.get), purged_log)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1_000_000))
def test_decisions_survive_any_schedule_of_crashes(seed: int) -> None:
    survive(seed, lambda local: PetStore(local.get), decided_log)


@settings(max_examples=120, deadline=None)
@given(st.integers(0, 1_000_000))
def test_state_and_outputs_survive_any_schedule_of_crashes(seed: int) -> None:
    survive(seed, lambda local: PetStore(local.get))


class _OwnRowsOnly(PetStore):
    """On a repeat puts only the event's own rows again."""

    def _repeat(self, stored, offset, frontier):  # type: ignore[no-untyped-def]
        applied = super()._repeat(stored, offset, frontier)
        own = [r for r in applied.records if r[0].endswith((f"/{offset}".encode(), b"/h"))]
        return Applied(own, applied.outputs, True)


class _NothingAgain(PetStore):
    """On a repeat puts nothing again."""

    def _repeat(self, stored, offset, frontier):  # type: ignore[no-untyped-def]
        return Applied([], super()._repeat(stored, offset, frontier).outputs, True)


class _NoOutbox(PetStore):
    """On a repeat sends nothing again."""

    def _repeat(self, stored, offset, frontier):  # type: ignore[no-untyped-def]
        return Applied(super()._repeat(stored, offset, frontier).records, [], True)


class _HeadFirst(PetStore):
    """Puts the head before the rows it refers to."""

    def _record(self, stored, result, offset, frontier):  # type: ignore[no-untyped-def]
        applied = super()._record(stored, result, offset, frontier)
        applied.records.sort(key=lambda record: not record[0].endswith(b"/h"))
        return applied


class _EagerTombstones(PetStore):
    """Deletes superseded rows before what superseded them is committed."""

    def _record(self, stored, result, offset, frontier):  # type: ignore[no-untyped-def]
        return super()._record(stored, result, offset, offset - 1)


class _PurgeOnce(PetStore):
    """Does not delete again what a purge deleted."""

    def _repeat(self, stored, offset, frontier):  # type: ignore[no-untyped-def]
        applied = super()._repeat(stored, offset, frontier)
        return Applied([r for r in applied.records if r[1] is not None], applied.outputs, True)


def test_the_audit_is_red_when_a_purge_deletes_only_once() -> None:
    def survive_all() -> None:
        for seed in range(100):
            survive(seed, lambda local: _PurgeOnce(local.get), purged_log)

    with pytest.raises(AssertionError, match="rows of before the purge"):
        survive_all()


@pytest.mark.parametrize("broken", [_OwnRowsOnly, _NothingAgain, _NoOutbox, _HeadFirst, _EagerTombstones])
def test_the_audit_is_red_without_each_protection(broken: type[PetStore]) -> None:
    for seed in range(60):
        try:
            survive(seed, lambda local: broken(local.get))
        except (AssertionError, StopProcess):
            return
    pytest.fail(f"no schedule of crashes shows that {broken.__doc__} is wrong")


def test_pets_that_do_not_fit_the_cache_are_read_from_their_rows() -> None:
    world = survive(3, lambda local: PetStore(local.get, max_cached_bytes=1))
    assert world.generation > 1
