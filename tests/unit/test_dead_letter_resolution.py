"""Letters become actions: the same ones every time, with the next run's commands, or a reason why not."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from app.dead_letters import resolution
from app.dead_letters.resolution import LETTERS_PER_DISCARD, MAX_ACTION_BYTES, Order, Refused
from bridges.messages import original
from bridges.translate import MAX_ENTRY_BYTES
from projections.dead_letter_reader import DeadLetterRow
from schemas.bounds import MAX_ITEMS, MAX_METADATA_BYTES, MAX_TEXT
from schemas.commands import MAX_IMAGES_PER_COMMAND, MAX_IMAGES_PER_JOB, EmbedImages, decode_command, split_images
from schemas.dead_letters import DeadLetterAction, action_id, decode_action
from schemas.facts import WHOLE_LIST
from schemas.ids import message_id
from schemas.insights import Insight

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
    return resolution.requeue_images(letters, [msgspec.json.encode(command)], ORDER)


def abandoned(**more: Any) -> DeadLetterRow:
    return letter("j", subject="job", kind="abandoned", image_id="", **more)


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


def test_what_is_said_of_images_goes_with_them_whichever_command_they_came_in() -> None:
    said = {name: Insight(quality_score=0.5, pose=name) for name in "abcd"}
    one, two = (
        msgspec.structs.replace(COMMAND, image_ids=ids, insights={name: said[name] for name in ids})
        for ids in (("a", "b"), ("c", "d"))
    )
    letters = [letter("a"), letter("c"), letter("z")]
    action = resolution.requeue_images(letters, [msgspec.json.encode(each) for each in (one, two)], ORDER)
    (command,) = decode_action(msgspec.json.encode(action)).commands
    assert command.insights == {"a": said["a"], "c": said["c"]}
    action = resolution.requeue_run([fact()], [msgspec.json.encode(each) for each in (one, two)], ORDER)
    assert action.commands[0].insights == said
    assert decode_command(msgspec.json.encode(action.commands[0])) == action.commands[0]


def test_what_an_entry_says_of_its_images_goes_with_each_of_its_commands() -> None:
    told = [{"image_id": f"i{number}", "quality_score": number / 100} for number in range(70)]
    entry = letter("e", subject="entry", source_id="streams:media/1763711364600-0", pet_id="", job_id="")
    action = resolution.requeue_entry(entry, msgspec.json.encode({"pet_id": "101", "images": told}), ORDER)
    found = {name: insight for command in action.commands for name, insight in command.insights.items()}
    assert [len(command.insights) for command in action.commands] == [64, 6]
    assert found == {f"i{number}": Insight(quality_score=number / 100) for number in range(70)}


def test_the_next_run_follows_the_letters_run() -> None:
    assert images(letter(run=7)).commands[0].run == 8


def test_a_repeat_is_the_same_action_in_every_byte_whatever_the_order() -> None:
    letters = [letter(number) for number in range(40)]
    first = msgspec.json.encode(images(*letters))
    for seed in range(5):
        random.Random(seed).shuffle(letters)
        assert msgspec.json.encode(images(*letters)) == first


def test_other_letters_are_another_requeue() -> None:
    one, two = images(letter("a")), images(letter("b"))
    assert one.id != two.id
    assert one.commands[0].job != two.commands[0].job


@pytest.mark.parametrize("number", [1, 64, 65, 300, 10_000])
def test_however_many_letters_of_a_run_are_one_requeue_in_parts(number: int) -> None:
    """Two requeues of one run would have two outcomes, of which Postgres shows one."""
    letters = [letter(index) for index in range(number)]
    action = images(*letters)
    commands, parts = action.commands, -(-number // MAX_IMAGES_PER_COMMAND)
    assert sorted(action.letters) == sorted(each.id for each in letters)
    assert [(each.part, each.parts, each.job_images) for each in commands] == [
        (part, parts, number) for part in range(1, parts + 1)
    ]
    assert {each.job for each in commands} == {commands[0].job}
    asked = [image_id for each in commands for image_id in each.image_ids]
    assert sorted(asked) == sorted(each.image_id for each in letters)
    assert decode_action(msgspec.json.encode(action)).commands == commands
    assert all(decode_command(msgspec.json.encode(each)) == each for each in commands)


def test_the_largest_job_fits_one_message() -> None:
    """All its images dead, with the longest ids and the widest context, in escapes."""
    names = tuple(f"{number:03}" + "\x01" * 125 for number in range(MAX_ITEMS))
    command = msgspec.structs.replace(
        COMMAND, reason="\x01" * MAX_TEXT, labels=names, coverage=dict.fromkeys(names, 0.123456789),
        metadata={"x": "y" * (MAX_METADATA_BYTES - 8)}, pet_id="p" * 128, job_id="j" * 128,
    )  # fmt: skip
    decode_command(msgspec.json.encode(command))
    about = {"pet_id": command.pet_id, "job_id": command.job_id}
    letters = [letter(number, image_id=f"{number:0128}", **about) for number in range(MAX_IMAGES_PER_JOB)]
    said = Insight(pose="\x01" * 128, taken_at="2026-05-01T09:00:00")
    given = len(msgspec.json.encode({"image_id": "i" * 128} | msgspec.to_builtins(said)))
    insights = dict.fromkeys([f"{number:0128}" for number in range(MAX_ENTRY_BYTES // given)], said)
    action = resolution.requeue_images(
        letters,
        [
            msgspec.json.encode(each)
            for each in split_images(msgspec.structs.replace(command, insights=insights), [*insights])
        ],
        ORDER,
    )
    assert len(msgspec.json.encode(action)) < MAX_ACTION_BYTES
    assert sum(len(each.image_ids) for each in action.commands) == MAX_IMAGES_PER_JOB


@pytest.mark.parametrize("number", [1, 64, 128])
def test_a_jobs_own_letter_stands_with_its_images(number: int) -> None:
    job = letter("job", subject="job", kind="no_image_usable", image_id="")
    action = images(job, *(letter(index) for index in range(number)))
    assert job.id in action.letters
    assert sum(len(command.image_ids) for command in action.commands) == number


def test_two_letters_about_one_image_ask_for_it_once() -> None:
    assert images(letter("x", image_id="a"), letter("y", image_id="a")).commands[0].image_ids == ("a",)


def test_a_letter_about_the_list_of_images_asks_for_the_list_again() -> None:
    command = msgspec.structs.replace(COMMAND, image_ids=(), parts=1, part=1, job_images=0)
    (again,) = images(letter(WHOLE_LIST, kind="list_unavailable"), command=command).commands
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
        resolution.requeue_images([letter("a"), letter("b")], [payload], ORDER)
    assert set(refused.value.letters) == {letter("a").id, letter("b").id}


def test_what_is_no_image_id_is_refused() -> None:
    with pytest.raises(Refused, match="no image id"):
        images(letter("a b"))


# ---- commands, entries, facts


def test_a_command_that_can_be_read_now_is_submitted_as_it_was() -> None:
    letter_ = letter("c", subject="command", kind="unreadable", image_id="", job_id="")
    action = resolution.requeue_command(letter_, msgspec.json.encode(COMMAND), ORDER)
    assert decode_action(msgspec.json.encode(action)).commands == (COMMAND,)
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


@pytest.mark.parametrize("about", [fact, abandoned])
def test_what_ended_a_whole_run_has_all_its_commands_submitted_again(about: Callable[..., DeadLetterRow]) -> None:
    parts = [
        msgspec.structs.replace(
            COMMAND, part=part, parts=2, image_ids=tuple(f"i{part}-{n}" for n in range(64)), attempt=1
        )
        for part in (1, 2)
    ]
    action = resolution.requeue_run([about(run=3)], [msgspec.json.encode(part) for part in parts], ORDER)
    assert [(c.run, c.part, c.parts, len(c.image_ids), c.job_images) for c in action.commands] == [
        (4, 1, 2, 64, 128), (4, 2, 2, 64, 128),
    ]  # fmt: skip
    assert {i for c in action.commands for i in c.image_ids} == {i for part in parts for i in part.image_ids}


def test_a_job_that_named_no_image_asks_for_the_list_again() -> None:
    first = msgspec.structs.replace(COMMAND, part=1, image_ids=())
    action = resolution.requeue_run([fact()], [msgspec.json.encode(first), msgspec.json.encode(COMMAND)], ORDER)
    assert [command.image_ids for command in action.commands] == [()]


def test_a_runs_images_go_with_what_asks_for_all_of_it() -> None:
    original = msgspec.structs.replace(COMMAND, part=1, parts=1, image_ids=("a", "b"))
    letters = [
        fact(),
        letter("g", subject="fact", kind="not_folded", image_id=""),
        abandoned(),
        letter("a"),
        letter("z"),
    ]
    action = resolution.requeue_run(letters, [msgspec.json.encode(original)], ORDER)
    assert set(action.letters) == {each.id for each in letters}
    assert [command.image_ids for command in action.commands] == [("a", "b", "z")]
    action = resolution.requeue_run([fact(), letter(WHOLE_LIST)], [msgspec.json.encode(original)], ORDER)
    assert [command.image_ids for command in action.commands] == [()]


@pytest.mark.parametrize(
    ("more", "originals", "reason"),
    [
        ({"job_id": ""}, [], "answers no job"),
        ({}, [], "no command of run 1 of job job_1 is known"),
        ({}, [b"{"], "a command of its job cannot be read"),
        ({}, [msgspec.json.encode(COMMAND)], "'a b' is no image id"),
    ],
)
def test_a_run_that_cannot_be_submitted_refuses_only_what_asks_for_it(
    more: dict[str, str], originals: list[bytes], reason: str
) -> None:
    with pytest.raises(Refused, match=reason) as refused:
        resolution.requeue_run([fact(**more), letter("a b", **more)], originals, ORDER)
    assert refused.value.letters == (fact().id,)


@pytest.mark.parametrize(
    ("subject", "kind", "reason"),
    [
        ("fact", "unreadable", "cannot read"),
        ("fact", "not_projected", "stands in its topic"),
        ("job", "not_projected", "stands in its topic"),
    ],
)
def test_what_stands_in_its_topic_can_never_be_requeued(subject: str, kind: str, reason: str) -> None:
    refusal = resolution.refusal(letter("f", subject=subject, kind=kind, image_id=""))
    assert refusal is not None
    assert reason in refusal.reason


@pytest.mark.parametrize("about", [fact(), abandoned(), letter(), letter("c", subject="command", kind="not_projected")])
def test_others_may_be_requeued(about: DeadLetterRow) -> None:
    assert resolution.refusal(about) is None


def test_an_action_that_no_topic_takes_is_refused() -> None:
    with pytest.raises(Refused, match="the limit is"):
        images(*(letter(number, image_id="a") for number in range(110_000)))


# ---- discards


def test_a_discard_names_its_letters_and_submits_nothing() -> None:
    (action,) = resolution.discards([letter("b"), letter("a")], ORDER)
    assert (action.kind, action.commands) == ("discard", ())
    assert action.letters == tuple(sorted((letter("a").id, letter("b").id)))
    assert action.id != action_id("requeue", action.letters)


def test_more_letters_than_fit_are_several_discards() -> None:
    letters = [letter(number) for number in range(LETTERS_PER_DISCARD + 1)]
    actions = resolution.discards(letters, ORDER)
    assert [len(action.letters) for action in actions] == [LETTERS_PER_DISCARD, 1]
    assert {each for action in actions for each in action.letters} == {each.id for each in letters}
