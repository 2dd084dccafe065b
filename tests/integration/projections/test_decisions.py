"""What became of users' decisions, as rows: from the topic, from the log, into a shadow; and gone with a purge."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from app.local.kafka import KafkaServer
from projections.bulk_rows import COLUMNS, all_rows
from projections.cache import AnswerCache
from projections.decision_reader import DecisionReader
from projections.decisions import record_decision
from projections.fold_state import FoldState
from projections.leftovers import count_leftovers
from projections.postgres import apply_version
from projections.records import RecordDecoder
from projections.replayed import Change, feed
from projections.shadow import schema
from projections.shadow.catch_up import apply_change
from projections.shadow.compare import compare
from projections.telemetry import ProjectorMetrics
from projections.text import moment
from projections.verify.decided import decision_differences
from projections.verify.folding import Versions
from schemas.codec import encode_version
from schemas.decisions import DECISION_SETTLED_TYPE, DecisionSettled
from schemas.errors import DeadLetter, InvalidInput, UnknownVersion
from schemas.topics import Topics
from schemas.versions import DecidedChange, PetErased
from tables.outputs import Output, settled_output, version_output
from tables.replay import LogReplay
from tests.decided_albums import RandomUser
from tests.integration.projections.purge_samples import OTHER, PET, at, erased, project
from tests.integration.projections.rig import Counted, Rig
from tests.integration.projections.samples import Album, decided_version, eventually, settled, version

SHADOW = "media_shadow_7"
ROWS = f"SELECT {', '.join(COLUMNS['pet_decisions'])} FROM pet_decisions ORDER BY pet_id, log_offset"
ROW = ROWS.replace("ORDER BY", "WHERE pet_id = $1 ORDER BY")


@pytest.fixture
async def rig(kafka: KafkaServer, topics: Topics, pool: Any, cache: AnswerCache) -> AsyncIterator[Rig]:
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, acks="all")
    await producer.start()
    yield Rig(kafka.bootstrap_servers, topics, pool, cache, producer)
    await producer.stop()


def refused(decision_id: str, at_version: int, offset: int, **more: Any) -> DecisionSettled:
    said = {"accepted": False, "code": "moved_on", "reason": "it has ended", "cluster": -1, "offset": offset, **more}
    return settled(PET, decision_id, at_version, **said)


async def test_messages_become_rows_behind_the_versions_that_they_made(rig: Rig, pool: Any) -> None:
    counters: dict[tuple[str, str], Counted] = {}
    metrics = ProjectorMetrics(decisions=lambda *labels: counters.setdefault(labels, Counted()))
    held = DecidedChange("a", 0, 0.9, "decided", component=-1, decision="d-1")
    free = DecidedChange("b", 0, 0.8, "joined", component=4)
    arguments = {"cluster": 0, "image_ids": ["a"]}
    first = settled(PET, "d-1", 1, "split", arguments=arguments, images=1, cluster=7, why="two\x00dogs", offset=10)
    async with rig.running(metrics=metrics):
        await rig.send(
            decided_version(PET, 1, (held, free), offset=10),
            first,
            refused("d-2", 1, 11),
            first,
            refused("d-1", 1, 12, kind="rename"),
            decided_version(PET, 2, (msgspec.structs.replace(held, cluster=-1, decision=""),), offset=13),
            settled(PET, "d-3", 2, "undo", arguments={"decision_id": "d-1"}, undoes="d-1", offset=13),
            settled(PET, "d-4", 2, "paint", arguments={}, offset=14),
            settled("a/b", "d-5", 2),
            version(PET, 3),
        )
        await rig.until_version(PET, 3)
    said = (settled(PET, "d", 1).who, "two\N{REPLACEMENT CHARACTER}dogs")
    rows = await pool.fetch(ROW, PET)
    assert [row["decision_id"] for row in rows] == ["d-1", "d-2", "d-3", "d-4"]
    assert tuple(rows[0]) == (
        PET, "d-1", "split", '{"cluster": 0, "image_ids": ["a"]}', 1, *said, True, "", "", 1, 7, 1, "d-3", 0, 10,
        moment(first.time, "time"),
    )  # fmt: skip
    assert (rows[1]["accepted"], rows[1]["code"], rows[1]["reason"], rows[1]["cluster"]) == (
        *(False, "moved_on", "it has ended", None),
    )
    assert {labels: counter.value for labels, counter in counters.items()} == {
        ("split", "accepted"): 1, ("rename", "refused"): 1, ("undo", "accepted"): 1, ("other", "accepted"): 1,
    }  # fmt: skip
    ((topic, _, reason),) = rig.dead
    assert (topic, reason) == ("media.pet-versions", "pet_id: must be 1-128 characters of A-Z a-z 0-9 . _ : -")
    members = await pool.fetch(
        "SELECT image_id, metadata ->> 'decision' FROM cluster_members ORDER BY since_version, 1"
    )
    assert [tuple(row) for row in members] == [("a", "d-1"), ("b", None), ("a", None)]


async def test_a_version_with_a_gap_brings_its_decisions_from_the_log(rig: Rig, pool: Any) -> None:
    rig.log[PET] = [version(PET, 1), version(PET, 2), settled(PET, "d-1", 2), refused("d-2", 2, 3), version(PET, 3)]
    async with rig.running():
        await rig.send(version(PET, 3))
        await rig.until_version(PET, 3)
        assert [row["decision_id"] for row in await pool.fetch(ROW, PET)] == ["d-1", "d-2"]
        await rig.send(*rig.log[PET], settled(PET, "d-3", 9, offset=9))
        await eventually(lambda: DecisionReader(pool).find(PET, "d-3"))
    assert len(await pool.fetch(ROW, PET)) == 3, "and what comes again changes nothing"


def decoded(message: Change, written: str = DECISION_SETTLED_TYPE) -> object:
    headers = [("ce_type", written.encode())]
    return RecordDecoder(Topics("")).decode(Topics("").pet_versions.name, encode_version(message), headers)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("decision_id", "a b"), ("undoes", "a b"), ("time", "now"), ("who", "x" * 1001), ("why", "x" * 1001)),
        *(("reason", "x" * 1001), ("kind", "x" * 129), ("expected_version", -1), ("version", 2**63), ("images", -1)),
        *(("cluster", 2**31), ("offset", -1)),
    ],
)
def test_what_does_not_fit_its_row_is_named(field: str, value: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        decoded(msgspec.structs.replace(settled(PET, "d-1", 1), **{field: value}))
    assert caught.value.field == field


def test_a_newer_releases_is_told_from_garbage() -> None:
    assert decoded(settled(PET, "d-1", 1)) == settled(PET, "d-1", 1)
    for message, written in ((settled(PET, "d", 1), "media.DecisionSettled.v2"), (version(PET, 1, format=6), "")):
        with pytest.raises(UnknownVersion):
            decoded(message, written)
    with pytest.raises(DeadLetter):
        RecordDecoder(Topics("")).decode(Topics("").pet_versions.name, b"\x81\xa6format\x04", [])


class _Replay:
    """Stands for a fold of the log that sends these."""

    def __init__(self, *outputs: Output) -> None:
        self.outputs = list(outputs)

    def apply(self, offset: int, key: bytes | None, value: bytes | None) -> list[Output]:
        return self.outputs


def test_what_the_log_leads_to_has_what_became_of_its_decisions() -> None:
    made, became = version(PET, 3), settled(PET, "d-1", 3)
    other = Output("updated", "t", "i", b"{}")
    stand_in: Any = _Replay(version_output(made), other, settled_output(became))
    assert feed(stand_in, 0, b"", b"") == [made, became]


def histories(seed: int) -> list[Change]:
    """Versions of two pets, with decisions of all kinds of ends between them: repeats, undone ones, refused ones."""
    chance, albums = random.Random(seed), [Album(PET, seed=seed), Album(OTHER, seed=seed + 1)]
    changes: list[Change] = []
    for offset in range(60):
        album = chance.choice(albums)
        changes.append(made := msgspec.structs.replace(album.draw(), offset=offset))
        ids, accepted, undoes = f"d-{chance.randrange(40)}", chance.random() < 0.7, f"d-{chance.randrange(40)}"
        kind = "undo" if chance.random() < 0.5 else "rename"
        changes.append(
            settled(
                album.pet_id, ids, made.version, kind, offset=offset, accepted=accepted,
                undoes=undoes if accepted and kind == "undo" else "", code="" if accepted else "conflict",
            )
        )  # fmt: skip
    return changes


def folded(seed: int) -> list[Change]:
    """What the fold makes of a random album with a user."""
    user = RandomUser(seed)
    for _ in range(25):
        user.upload()
        user.decide()
    replay = LogReplay(0)
    return [change for offset, (key, value) in enumerate(user.album.log) for change in feed(replay, offset, key, value)]


async def write(connection: Any, changes: Sequence[Change]) -> None:
    """As the projector does."""
    async with connection.transaction():
        for change in changes:
            if isinstance(change, DecisionSettled):
                await record_decision(connection, change)
            else:
                assert not isinstance(change, PetErased)
                await apply_version(connection, change)


async def copy(connection: Any, name: str, changes: Sequence[Change]) -> None:
    for table, rows in all_rows(changes).items():
        await connection.copy_records_to_table(table, schema_name=name, records=rows, columns=COLUMNS[table])


@pytest.mark.parametrize("changes", [*map(histories, range(4)), *map(folded, range(3))])
async def test_a_shadow_gets_the_rows_that_the_projector_came_to(pool: Any, changes: list[Change]) -> None:
    half = len(changes) // 2
    async with pool.acquire() as connection:
        await write(connection, changes)
        await schema.create(connection, SHADOW)
        await copy(connection, SHADOW, changes[:half])
        await schema.index(connection, SHADOW)
        async with connection.transaction():
            await connection.execute(f"SET LOCAL search_path TO {SHADOW}, public")
            for change in changes[half:]:
                await apply_change(connection, change)
        live = await connection.fetch(ROWS)
        assert await connection.fetch(ROWS.replace("FROM ", f"FROM {SHADOW}.")) == live
        assert {row["undone_by"] is None for row in live} == {True, False}
        assert (await compare(connection, SHADOW)).differing == 0


async def test_a_shadow_that_says_something_else_of_a_decision_differs(pool: Any) -> None:
    async with pool.acquire() as connection:
        changes = histories(3)
        await write(connection, changes)
        await schema.create(connection, SHADOW)
        await copy(connection, SHADOW, changes)
        await connection.execute(f"DELETE FROM {SHADOW}.pet_decisions WHERE NOT accepted AND pet_id = '{PET}'")
        assert (await compare(connection, SHADOW)).differing == 0, "who is behind by a refusal does not differ"
        await connection.execute(
            f"UPDATE {SHADOW}.pet_decisions SET who = 'eve' WHERE decision_id = (SELECT min(decision_id)"
            f" FROM {SHADOW}.pet_decisions WHERE accepted AND pet_id = '{PET}') AND pet_id = '{PET}'"
        )
        (found,) = (await compare(connection, SHADOW)).differences
        assert (found.pet_id, found.parts) == (PET, ("decisions",))


def test_what_verify_keeps_of_the_log_tells_each_difference_by_its_decision(tmp_path: Path) -> None:
    state = FoldState(tmp_path / "versions")
    versions = Versions(state)
    for change in (log := folded(1)):
        if isinstance(change, DecisionSettled):
            versions.settle(change, encode_version(change))
        else:
            versions.add(change, encode_version(change))
    kept = list(versions.changes("pet_1"))
    assert sorted(map(repr, kept)) == sorted(map(repr, log))
    assert list(versions.pets()) == ["pet_1"]
    versions.add(purge := erased(99, pet_id="pet_1"), encode_version(purge))
    assert list(versions.changes("pet_1")) == [purge]
    state.close()

    rows = all_rows(kept)["pet_decisions"]
    end, undone = max(row[15] for row in rows), next(row for row in rows if row[13] is not None)
    undoing = next(row[15] for row in rows if row[1] == undone[13])
    assert list(decision_differences(rows, rows, end)) == []
    assert list(decision_differences(rows, [row for row in rows if row[15] < undoing], undoing - 1)) == []

    def differing(theirs: list[Any]) -> list[tuple[str, str, str]]:
        return [(each.field, each.expected, each.found) for each in decision_differences(rows, theirs, end)]

    name = f"pet_decisions[{undone[1]}]"
    left = [row for row in rows if row is not undone]
    assert differing(left) == [(name, "a row", "nothing")]
    assert differing([*rows, ("pet_1", "made-up", *undone[2:])]) == [("pet_decisions[made-up]", "nothing", "a row")]
    ((where, expected, found),) = differing([*left, (*undone[:5], "eve", *undone[6:])])
    assert (where, "ann" in expected, "eve" in found) == (f"{name}.who", True, True)
    assert [where for where, *_ in differing([*left, (*undone[:13], None, *undone[14:])])] == [f"{name}.undone_by"]


async def test_a_purge_takes_what_was_decided_before_and_keeps_it_out(pool: Any) -> None:
    await project(pool, version(PET, 1), settled(PET, "d-1", 1, offset=5), settled(OTHER, "d-1", 1))
    assert await project(pool, erased(1), settled(PET, "d-2", 1, offset=76)) == [False], "it comes again, too late"
    assert await project(pool, refused("d-3", 1, 78, time=at(520)), erased(1)) == [True], "what is decided since stays"
    assert [row["decision_id"] for row in await pool.fetch(ROW, PET)] == ["d-3"]
    assert len(await pool.fetch(ROW, OTHER)) == 1

    async def left() -> int:
        async with pool.acquire() as connection:
            found = await count_leftovers(connection, PET, 1, moment(at(500), "t"), moment(at(510), "t"))
        return found["public.pet_decisions"]

    assert await left() == 0
    await pool.execute(
        "INSERT INTO pet_decisions SELECT pet_id, 'back', kind, arguments, expected_version, who, why, accepted, code,"
        " reason, version, cluster, images, undone_by, log_partition, 5, $2 FROM pet_decisions WHERE pet_id = $1",
        *(PET, moment(at(100), "t")),
    )
    assert await left() == 1, "the check of a purge looks there"


async def test_a_shadow_has_no_decision_of_before_a_purge() -> None:
    rows = all_rows([version(PET, 1), settled(PET, "d-1", 1), erased(1), refused("d-2", 1, 78)])["pet_decisions"]
    assert [row[1] for row in rows] == ["d-2"]
