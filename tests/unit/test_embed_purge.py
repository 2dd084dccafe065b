"""A purge among the commands that embed handles: what comes before it, behind it, and again."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from agents.known_images import key_of
from agents.pet_purge import mark_key, mark_of
from schemas.codec import decode_fact
from schemas.commands import EmbedImages, PurgePet
from schemas.facts import Fact, ImagesEmbedded, PetPurged
from schemas.pet_keys import PetKey
from tests.unit.test_embed import Rig

BEFORE, AT, AFTER = (f"2026-11-21T10:0{minute}:00.000000+00:00" for minute in (0, 5, 9))
PURGE = PurgePet(pet_id="rex", purge_id="p1", accepted_at=AT, who="ops", why="asked")


def command(image_id: str, enqueued_at: str, pet_id: str = "rex", **more: Any) -> EmbedImages:
    return EmbedImages(
        pet_id=pet_id, job_id=image_id, image_ids=(image_id,), job_images=1, enqueued_at=enqueued_at, **more
    )


def logged(rig: Rig) -> list[Fact]:
    return [decode_fact(value, rig.keys)[1] for value in rig.topics["pet_log"].values]


def told(rig: Rig) -> list[str]:
    return [fact.images[0].image_id if isinstance(fact, ImagesEmbedded) else "purge" for fact in logged(rig)]


async def test_a_purge_says_which_keys_it_retires_and_what_was_remembered_is_gone() -> None:
    rig = Rig()
    rig.keys.elsewhere = [PetKey(key_id="k of another worker", pet_id="rex", secret=bytes(32))]
    await rig.run(command("a", BEFORE), command("b", BEFORE, pet_id="bella"), PURGE)
    purged = logged(rig)[-1]
    (made,) = [key.key_id for key in rig.keys.of_pet("rex") if key.key_id != "k of another worker"]
    assert purged == PetPurged(
        purge_id="p1", accepted_until=AT, keys=(made, "k of another worker"), who="ops", why="asked"
    )
    assert set(rig.table) == {mark_key("rex"), key_of("bella", "b")}
    assert rig.acks == [0, 1, 2]


async def test_commands_accepted_before_are_dropped_whenever_they_come() -> None:
    rig = Rig()
    await rig.run(
        PURGE, command("late", BEFORE), command("at the same time", AT), command("retried", BEFORE, attempt=3)
    )
    assert told(rig) == ["purge"]
    assert (rig.asked, rig.topics["status"].values, rig.acks) == ([], [], [0, 1, 2, 3])


async def test_what_comes_later_is_sealed_under_a_key_of_its_own() -> None:
    rig = Rig()
    await rig.run(command("a", BEFORE), PURGE, command("a", AFTER))
    assert told(rig) == ["a", "purge", "a"]
    old, new = rig.keys.of_pet("rex")
    envelopes = [decode_fact(value, rig.keys)[0].key_id for value in rig.topics["pet_log"].values]
    assert envelopes == [old.key_id, "", new.key_id]


async def test_the_pets_later_commands_wait_for_the_purge_and_other_pets_do_not() -> None:
    rig = Rig()
    rig.topics["changelog"] = rig.table.changelog_topic
    rig.table.changelog_topic.hold = asyncio.get_running_loop().create_future()
    await rig.run(PURGE, command("a", AFTER), command("b", AFTER, pet_id="bella"))
    assert told(rig) == ["b"]
    assert rig.asked == ["b"]


async def test_a_purge_waits_for_the_commands_before_it() -> None:
    rig = Rig()
    rig.topics["pet_log"].hold = asyncio.get_running_loop().create_future()
    await rig.run(command("a", BEFORE), PURGE)
    assert told(rig) == ["a"]
    assert mark_of(rig.table.get, "rex") is None


async def test_a_purge_that_is_read_again_says_the_same() -> None:
    rig = Rig()
    await rig.run(command("a", BEFORE), PURGE)
    first = logged(rig)[-1]
    await rig.run(command("b", AFTER), PURGE)
    assert logged(rig)[-1] == first
    later = msgspec.structs.replace(PURGE, purge_id="p2", accepted_at=AFTER)
    await rig.run(later, PURGE)
    assert logged(rig)[-1] == first
    mark = mark_of(rig.table.get, "rex")
    assert mark is not None
    assert (mark.accepted_until, len(mark.keys["p1"]), len(mark.keys["p2"])) == (AFTER, 1, 1)


async def test_a_purge_of_an_older_generation_has_no_effect() -> None:
    rig = Rig()
    refresh = rig.keys.refresh

    async def rebalanced() -> None:
        rig.app.consumer_generation_id = 2
        await refresh()

    rig.keys.refresh = rebalanced  # type: ignore[method-assign]
    await rig.run(PURGE)
    assert (logged(rig), rig.table, rig.acks) == ([], {}, [])
