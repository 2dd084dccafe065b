"""The state of a pet stays small and an event's records stay few, whatever the size of the album."""

from __future__ import annotations

import uuid

import pytest

from schemas.facts import MIXTURE_POLICY, Policy, PolicyChanged
from schemas.topics import PARTITION_FACTS_KEY
from tables import rows
from tables.log import fold_record
from tables.replay import LogReplay
from tests.albums import Directions, embedded, image
from tests.unit.test_fold import entry

HEAD_LIMIT = 64 * 1024


@pytest.fixture(scope="module", params=[Policy(), MIXTURE_POLICY], ids=lambda policy: policy.engine)
def policy(request: pytest.FixtureRequest) -> Policy:
    found: Policy = request.param
    return found


@pytest.fixture(scope="module", params=["hundreds of clusters", "nothing belongs together"])
def album(request: pytest.FixtureRequest, policy: Policy) -> LogReplay:
    """10,000 photos with UUIDs as ids, one to 64 an event."""
    directions = Directions(3)
    bursts = [directions.new() for _ in range(300)]
    alone = request.param == "nothing belongs together"
    replay, made, offset = LogReplay(0), 0, 1
    replay.apply(0, *entry(PolicyChanged(policy=policy), PARTITION_FACTS_KEY))
    while made < 10_000:
        size = min(1 + offset * 7 % 64, 10_000 - made)
        photos = [
            image(
                str(uuid.UUID(int=made + n)), directions.near(directions.new() if alone else bursts[(made + n) % 300])
            )
            for n in range(size)
        ]
        replay.apply(offset, *entry(embedded(photos, job_id=str(uuid.UUID(int=offset)))))
        made, offset = made + size, offset + 1
    return replay


def test_the_head_stays_within_its_bound(album: LogReplay) -> None:
    assert album.store.pet("pet_1").image_count == 10_000
    assert len(album.rows[rows.head_key("pet_1")]) <= HEAD_LIMIT


def test_every_message_and_row_fits_the_topics_limit(album: LogReplay) -> None:
    assert max(map(len, album.rows.values())) < 1_000_000


def test_an_event_at_10_000_photos_puts_no_more_than_at_the_start(album: LogReplay) -> None:
    directions = Directions(9)
    photo = image("one-more", directions.near(directions.new()))
    key, value = entry(embedded([photo], job_id="one-more"))
    late = _records(album, 100_000, key, value)
    early = _records(LogReplay(0), 0, key, value)
    assert len(late) <= len(early) + 1  # a full segment may be due
    assert sum(late) <= sum(early) + HEAD_LIMIT


def _records(replay: LogReplay, offset: int, key: bytes, value: bytes) -> list[int]:
    """Sizes of the records that one event puts, without the tombstones of what the event before it superseded."""
    applied = fold_record(replay.store, 0, offset, key, value, frontier=offset - 1, generation=0)[2]
    return [len(row) for _, row in applied.records if row is not None]


def test_superseded_rows_are_deleted(album: LogReplay) -> None:
    event_rows = [key for key in album.rows if b"/c/" in key]
    assert len(event_rows) <= len(album.store.pet("pet_1").groups) + 3
