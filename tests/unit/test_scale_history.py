"""Large made-up logs: every pet has its photos once, in order, and shards together make the whole."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta

from schemas.codec import encode_fact
from tables.replay import LogReplay
from tests.scale.history import DAYS, Entry, Size, further, history, pet_name

END = datetime(2026, 11, 21, tzinfo=UTC)
SIZE = Size(pets=6, images=40, big=120)


def by_pet(entries: list[Entry]) -> dict[str, list[Entry]]:
    found = defaultdict(list)
    for entry in entries:
        found[entry.pet_id].append(entry)
    return found


def test_every_pet_has_its_photos_once_and_in_order() -> None:
    entries = list(history(SIZE, END))
    assert len(entries) == SIZE.jobs == 6 * 4 + 12
    albums = by_pet(entries)
    assert sorted(albums) == [pet_name(number) for number in range(7)]
    for pet_id, jobs in albums.items():
        images = [image.image_id for job in jobs for image in job.fact.images]
        assert len(set(images)) == len(images) == (120 if pet_id == pet_name(6) else 40)
        assert [job.fact.job.job_id for job in jobs] == sorted(job.fact.job.job_id for job in jobs)


def test_pets_take_turns_and_time_goes_on() -> None:
    entries = list(history(SIZE, END))
    times = [entry.time for entry in entries]
    assert times == sorted(times)
    assert END - timedelta(days=DAYS) <= times[0] < times[-1] < END
    assert len({entry.pet_id for entry in entries[:12]}) > 3


def test_shards_together_are_the_whole() -> None:
    shards = [list(history(SIZE, END, shard=shard, shards=3)) for shard in range(3)]
    assert all(shards)
    assert sorted((e.time, e.pet_id, e.fact) for shard in shards for e in shard) == [
        (e.time, e.pet_id, e.fact) for e in history(SIZE, END)
    ]


def test_bursts_become_clusters_and_what_belongs_nowhere_stays_unclustered() -> None:
    replay = LogReplay(0)
    for offset, entry in enumerate(history(Size(pets=1, images=300), END)):
        value = encode_fact(entry.fact, event_id=str(offset), time="2026-11-21T00:00:00+00:00", pet_id=entry.pet_id)
        replay.feed(offset, entry.pet_id.encode(), value)
    pet = replay.store.pet(pet_name(0))
    assert replay.refused == []
    assert pet.image_count == 300
    scenes = 300 // 20 + 1
    assert scenes * 0.8 < pet.next_cluster - 1 < scenes * 1.3
    assert 5 < pet.unclustered_count < 40


def test_further_jobs_go_on_where_a_history_ends() -> None:
    longer = by_pet(list(history(Size(pets=3, images=30), END)))
    more = list(further(Size(pets=3, images=20), range(3), END))
    assert sorted(entry.fact.job.job_id for entry in more) == sorted(
        jobs[2].fact.job.job_id for jobs in longer.values()
    )
    assert {entry.fact.images for entry in more} == {jobs[2].fact.images for jobs in longer.values()}
