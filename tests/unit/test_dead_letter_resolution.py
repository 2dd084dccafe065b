"""Letters become actions: the same ones every time, with the next run's commands, or a reason why not."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from app.dead_letters import resolution
from app.dead_letters.resolution import Order, Refused
from bridges.messages import original
from projections.dead_letter_reader import DeadLetterRow
from schemas.commands import MAX_IMAGES_PER_COMMAND, EmbedImages, decode_command
from schemas.dead_letters import MAX_LETTERS_PER_ACTION, DeadLetterAction, action_id, decode_action
from schemas.ids import message_id

ORDER = Order(who="ann", why="storage is back", at="2026-11-21T08:00:00.000000+00:00")
COMMAND = EmbedImages(
    pet_id="101", job_id="job_1", part=2, parts=3, image_ids=("a", "b", "c"), job_images=140, reason="insights_ready",
    labels=("Portraits",), coverage={"portrait": 0.6}, quality_score=0.5, metadata={"by": "auth"}, attempt=5,
    enqueued_at="2026-11-21T07:49:24.624049+00:00", source="redis:s/1-0",
)  # fmt: skip


def letter(name: object = "a", **more: Any) -> DeadLetterRow:
    values: dict[str, Any] = {
        "id": message_id("letter", name), "subject": "image", "kind": "not_found", "reason": "404", "attempts": 5,
        "run": 1, "source_id": "media.jobs/0/1", "failed_at": "2026-11-21T07:50:00.000000+00:00", "pet_id": "101",
        "job_id": "job_1", "image_id": str(name), "payload_bytes": 1, "state": "open", "acted_at": None, "who": "",
        "why": "", "action_id": None,
    }  # fmt: skip
    return DeadLetterRow(**(values | more))


def images(*letters: DeadLetterRow, command: EmbedImages = COMMAND) -> DeadLetterAction:
    return resolution.requeue_images(letters, msgspec.json.encode(command), ORDER)


def fact(**more: Any) -> DeadLetterRow:
    return letter("f", subject="fact", kind="not_folded", image_id="", **more)


# ---- images


def test_images_are_submitted_as_the_next_run_with_their_jobs_context() -> None:
    action = images(letter("a"), letter("c"))
    (command,) = action.commands
    assert set(command.image_ids) == {"a", "c"}
    assert (command.run, command.attempt, command.part, command.parts, command.job_images) == (2, 1, 1, 1, 2)
    assert command.requeue == action_id("requeue", action.letters).replace("-", "")[:16]
    assert command.id != COMMAND.id
    kept = ("pet_id", "job_id", "reason", "labels", "coverage", "quality_score", "metadata", "enqueued_at", "source")
    assert {name: getattr(command, name) for name in kept} == {name: getattr(COMMAND, name) for name in kept}
    assert (action.kind, action.pet_id, action.job_id, action.who, action.why, action.at) == (
        "requeue", "101", "job_1", "ann", "storage is back", ORDER.at,
    )  # fmt: skip
    assert decode_action(msgspec.json.encode(action)) == action
    assert decode_command(msgspec.json.encode(command)) == command


def test_the_next_run_follows_the_letters_run() -> None:
    assert images(letter(run=7)).commands[0].run == 8


def test_a_repeat_is_the_same_action_in_every_byte_whatever_the_order() -> None:
    letters = [letter(number) for number in range(40)]
    first = msgspec.json.encode(images(*resolution.groups(letters)[0]))
    for seed in range(5):
        random.Random(seed).shuffle(letters)
        assert msgspec.json.encode(images(*resolution.groups(letters)[0])) == first


def test_other_letters_are_another_requeue() -> None:
    one, two = images(letter("a")), images(letter("b"))
    assert one.id != two.id
    assert one.commands[0].job != two.commands[0].job


@pytest.mark.parametrize("number", [1, 64, 65, 300])
def test_many_letters_are_several_actions_that_name_each_letter_once(number: int) -> None:
    letters = [letter(index) for index in range(number)]
    actions = [images(*group) for group in resolution.groups(letters)]
    assert len(actions) == -(-number // MAX_LETTERS_PER_ACTION)
    assert sorted(each for action in actions for each in action.letters) == sorted(each.id for each in letters)
    asked = [image_id for action in actions for command in action.commands for image_id in command.image_ids]
    assert sorted(asked) == sorted(each.image_id for each in letters)
    assert all(len(c.image_ids) <= MAX_IMAGES_PER_COMMAND for action in actions for c in action.commands)


@pytest.mark.parametrize("number", [1, 63, 64, 128])
def test_a_jobs_own_letter_stands_with_images(number: int) -> None:
    job = letter("job", subject="job", kind="no_image_usable", image_id="")
    groups = resolution.groups([*(letter(index) for index in range(number)), job])
    assert groups[0][0] == job
    assert all(any(each.subject == "image" for each in group) for group in groups)
    first = images(*groups[0])
    assert job.id in first.letters
    assert sum(len(command.image_ids) for command in first.commands) == len(groups[0]) - 1


def test_two_letters_about_one_image_ask_for_it_once() -> None:
    assert images(letter("x", image_id="a"), letter("y", image_id="a")).commands[0].image_ids == ("a",)


def test_a_letter_about_the_list_of_images_asks_for_the_list_again() -> None:
    command = msgspec.structs.replace(COMMAND, image_ids=(), parts=1, part=1, job_images=0)
    (again,) = images(letter("*", kind="list_unavailable"), command=command).commands
    assert (again.image_ids, again.job_images, again.parts) == ((), 0, 1)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "cannot be read"),
        (b"[1,2]", "cannot be read"),
        (msgspec.json.encode(COMMAND)[:-9], "cannot be read"),
        (msgspec.json.encode(msgspec.structs.replace(COMMAND, job_id="job_2")), "another job"),
    ],
)
def test_images_whose_command_is_of_no_use_are_refused(payload: bytes, reason: str) -> None:
    with pytest.raises(Refused, match=reason) as refused:
        resolution.requeue_images([letter("a"), letter("b")], payload, ORDER)
    assert set(refused.value.letters) == {letter("a").id, letter("b").id}


def test_what_is_no_image_id_is_refused() -> None:
    with pytest.raises(Refused, match="no image id"):
        images(letter("a b"))


# ---- commands, entries, facts


def test_a_command_that_can_be_read_now_is_submitted_as_it_was() -> None:
    letter_ = letter("c", subject="command", kind="unreadable", image_id="", job_id="")
    action = resolution.requeue_command(letter_, msgspec.json.encode(COMMAND), ORDER)
    assert action.commands == (COMMAND,)
    assert (action.pet_id, action.job_id) == ("101", "job_1")


@pytest.mark.parametrize("payload", [b"{", b"null", b'{"pet_id":"a b","job_id":"j"}', b"\xff"])
def test_a_command_that_still_cannot_be_read_is_refused_with_the_decoders_reason(payload: bytes) -> None:
    with pytest.raises(Refused, match=r"still cannot be read: .+"):
        resolution.requeue_command(letter("c", subject="command"), payload, ORDER)


FLAT = {b"pet_id": b"101", b"job_id": b"job_9", b"image_ids": b'["a","b"]', b"force": b"true"}
NESTED = {b"payload": msgspec.json.encode({"pet_id": "101", "job_id": "job_9", "payload": {"image_ids": ["a", "b"]}})}


@pytest.mark.parametrize(("fields", "force"), [(FLAT, True), (NESTED, False)], ids=["flat", "nested"])
def test_an_entry_that_is_valid_now_becomes_the_bridges_commands(fields: dict[bytes, bytes], force: bool) -> None:
    entry = letter("e", subject="entry", source_id="streams:media/1763711364600-0", pet_id="", job_id="")
    action = resolution.requeue_entry(entry, original(fields), ORDER)
    (command,) = action.commands
    assert (command.pet_id, command.job_id, command.image_ids, command.force) == ("101", "job_9", ("a", "b"), force)
    assert (command.run, command.requeue, command.source) == (1, "", "redis:streams:media/1763711364600-0")
    assert command.enqueued_at == "2025-11-21T07:49:24.600000+00:00"
    assert (action.pet_id, action.job_id) == ("101", "job_9")


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        (b"\x00\xff", "payload"),
        (b'{"job_id":"j"}', "pet_id"),
        (b'{"pet_id":"101","image_ids":"a"}', "image_ids"),
        (b'{"pet_id":"101","image_ids":[7]}', "image_ids"),
        (b'{"payload":"x","pet_id":"101"}', "payload"),
    ],
)
def test_an_entry_that_is_still_not_valid_is_refused_with_the_field(payload: bytes, field: str) -> None:
    with pytest.raises(Refused, match=f"still not valid: {field}"):
        resolution.requeue_entry(letter("e", subject="entry", source_id="s/1-0"), payload, ORDER)


def test_a_fact_that_could_not_be_folded_has_its_whole_job_submitted_again() -> None:
    parts = [
        msgspec.structs.replace(
            COMMAND, part=part, parts=2, image_ids=tuple(f"i{part}-{n}" for n in range(64)), attempt=1
        )
        for part in (1, 2)
    ]
    action = resolution.requeue_run(fact(run=3), [msgspec.json.encode(part) for part in parts], ORDER)
    assert [(c.run, c.part, c.parts, len(c.image_ids), c.job_images) for c in action.commands] == [
        (4, 1, 2, 64, 128), (4, 2, 2, 64, 128),
    ]  # fmt: skip
    assert {i for c in action.commands for i in c.image_ids} == {i for part in parts for i in part.image_ids}


def test_a_job_that_named_no_image_asks_for_the_list_again() -> None:
    first = msgspec.structs.replace(COMMAND, part=1, image_ids=())
    action = resolution.requeue_run(fact(), [msgspec.json.encode(first), msgspec.json.encode(COMMAND)], ORDER)
    assert [command.image_ids for command in action.commands] == [()]


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"kind": "unreadable"}, "cannot read"),
        ({"kind": "not_projected"}, "stands in its topic"),
        ({"job_id": ""}, "answers no job"),
        ({}, "no command of run 1 of job job_1 is known"),
    ],
)
def test_other_facts_are_refused(more: dict[str, str], reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        resolution.requeue_run(
            letter("f", **{"subject": "fact", "kind": "not_folded", "image_id": ""} | more), [], ORDER
        )


def test_an_action_that_no_topic_takes_is_refused() -> None:
    heavy = msgspec.structs.replace(COMMAND, metadata={"x": "y" * 60_000})
    parts = [
        msgspec.json.encode(
            msgspec.structs.replace(heavy, part=n, parts=80, image_ids=tuple(f"{n}-{k}" for k in range(64)))
        )
        for n in range(1, 81)
    ]
    with pytest.raises(Refused, match="the limit is"):
        resolution.requeue_run(fact(), parts, ORDER)


# ---- discards


def test_a_discard_names_its_letters_and_submits_nothing() -> None:
    action = resolution.discard([letter("b"), letter("a")], ORDER)
    assert (action.kind, action.commands) == ("discard", ())
    assert action.letters == tuple(sorted((letter("a").id, letter("b").id)))
    assert action.id != action_id("requeue", action.letters)
