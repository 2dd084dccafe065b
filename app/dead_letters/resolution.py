"""Letters become actions: what a requeue submits, and what is refused. Pure; called by `app.dead_letters.desk`.

    letters                                      commands of the action
    images of one run r of a job, ≤ 64           their images, as run r + 1
    job                                          the images of its open image letters, with those
    command (could not be read)                  the command, if it can be read now
    entry (was not valid)                        what the bridge makes of it, if it is valid now
    fact, not folded                             all commands of its job's run r, as run r + 1

An action follows from its letters alone: a repeat has the same id, runs and commands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from bridges.translate import parse_entry, to_commands
from projections.dead_letter_reader import DeadLetterRow
from projections.text import moment
from schemas.commands import EmbedImages, decode_command, split_images
from schemas.dead_letters import MAX_LETTERS_PER_ACTION, ActionKind, DeadLetterAction, action_id
from schemas.errors import DeadLetter, InvalidInput
from schemas.ids import is_id
from schemas.topics import MAX_MESSAGE_BYTES

WHOLE_LIST: Final = "*"
"""Image id of a letter about a pet's list of images, which could not be had."""
MAX_ACTION_BYTES: Final = MAX_MESSAGE_BYTES - (1 << 16)
_REQUEUE_LENGTH: Final = 16
_NEVER: Final = {
    "unreadable": "a record of the log that this release cannot read is not written again",
    "not_projected": "a message that could not be projected stands in its topic; nothing is to be submitted again",
}


class Refused(Exception):
    """These letters cannot be acted on; the text says why."""

    def __init__(self, letters: Sequence[DeadLetterRow], reason: str) -> None:
        super().__init__(reason)
        self.letters = tuple(letter.id for letter in letters)
        self.reason = reason


@dataclass(frozen=True)
class Order:
    """Who wants it, why, and when they said so (RFC 3339)."""

    who: str
    why: str
    at: str


def groups(letters: Sequence[DeadLetterRow]) -> list[list[DeadLetterRow]]:
    """Letters of one job in groups for an action each; a job's own letter first, so that it stands with images."""
    ordered = sorted(letters, key=lambda letter: (letter.subject != "job", letter.id))
    return [ordered[start : start + MAX_LETTERS_PER_ACTION] for start in range(0, len(ordered), MAX_LETTERS_PER_ACTION)]


def discard(letters: Sequence[DeadLetterRow], order: Order) -> DeadLetterAction:
    """Letters of one job, or of none, that nobody wants to see again."""
    return _action("discard", letters, order, ())


def requeue_images(letters: Sequence[DeadLetterRow], original: bytes, order: Order) -> DeadLetterAction:
    """The images of these letters as the next run of their job.

    `letters`: of one group, all of one run, at least one of an image. `original`: payload of one of the image letters,
    a command whose context the new commands share.
    """
    first = letters[0]
    command = _decoded(letters, original, "the command that the images came in cannot be read")
    if (command.pet_id, command.job_id) != (first.pet_id, first.job_id):
        raise Refused(letters, "the command that the images came in is of another job")
    images = [letter.image_id for letter in letters if letter.subject == "image"]
    wrong = next((image_id for image_id in images if image_id != WHOLE_LIST and not is_id(image_id)), None)
    if wrong is not None:
        raise Refused(letters, f"{wrong!r} is no image id")
    asked = () if WHOLE_LIST in images else tuple(dict.fromkeys(images))
    return _next_run(letters, command, asked, order)


def requeue_run(letter: DeadLetterRow, originals: Sequence[bytes], order: Order) -> DeadLetterAction:
    """All commands of the run that a fact's letter is about, as the next run of their job. `originals`: as JSON."""
    if letter.kind in _NEVER:
        raise Refused([letter], _NEVER[letter.kind])
    if not letter.job_id:
        raise Refused([letter], "the fact answers no job, so nothing can be submitted again")
    if not originals:
        raise Refused([letter], f"no command of run {letter.run} of job {letter.job_id} is known")
    commands = [_decoded([letter], original, "a command of its job cannot be read") for original in originals]
    images = tuple(dict.fromkeys(image_id for command in commands for image_id in command.image_ids))
    # A command without images asks for the pet's list, which holds what the others name.
    asked = images if all(command.image_ids for command in commands) else ()
    return _next_run([letter], commands[0], asked, order)


def requeue_command(letter: DeadLetterRow, original: bytes, order: Order) -> DeadLetterAction:
    """The command as it was written, when this release can read it."""
    command = _decoded([letter], original, "still cannot be read")
    return _action("requeue", [letter], order, (command,), command)


def requeue_entry(letter: DeadLetterRow, original: bytes, order: Order) -> DeadLetterAction:
    """The commands that the bridge would have made of a stream entry, when it is valid for this release."""
    entry_id = letter.source_id.rpartition("/")[2]
    try:
        request = parse_entry(entry_fields(original), entry_id)
        commands = to_commands(request, source=f"redis:{letter.source_id}", now=moment(letter.failed_at, "failed_at"))
    except InvalidInput as error:
        raise Refused([letter], f"still not valid: {error}") from error
    return _action("requeue", [letter], order, tuple(commands), commands[0])


def entry_fields(original: bytes) -> dict[bytes, bytes]:
    """The fields of the entry that `bridges.messages.original` kept: its payload, or all fields as one object.

    An object of strings that names a pet may have been either; it is read as fields, whose strings hold JSON.
    """
    try:
        fields = msgspec.json.decode(original, type=dict[str, str])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {b"payload": original}
    if "payload" in fields or "pet_id" not in fields:
        return {b"payload": original}
    return {name.encode(): value.encode() for name, value in fields.items()}


def _decoded(letters: Sequence[DeadLetterRow], original: bytes, refusal: str) -> EmbedImages:
    try:
        return decode_command(original)
    except DeadLetter as error:
        raise Refused(letters, f"{refusal}: {error}") from error


def _next_run(
    letters: Sequence[DeadLetterRow], command: EmbedImages, image_ids: Sequence[str], order: Order
) -> DeadLetterAction:
    requeue = action_id("requeue", _ids(letters)).replace("-", "")[:_REQUEUE_LENGTH]
    template = msgspec.structs.replace(command, run=letters[0].run + 1, requeue=requeue, attempt=1)
    return _action("requeue", letters, order, tuple(split_images(template, image_ids)), command)


def _action(
    kind: ActionKind,
    letters: Sequence[DeadLetterRow],
    order: Order,
    commands: tuple[EmbedImages, ...],
    job: EmbedImages | None = None,
) -> DeadLetterAction:
    """`job`: a command, where the letters do not say themselves which job it is."""
    about = job or letters[0]
    action = DeadLetterAction(
        kind=kind,
        letters=_ids(letters),
        who=order.who,
        why=order.why,
        at=order.at,
        pet_id=about.pet_id,
        job_id=about.job_id,
        commands=commands,
    )
    size = len(msgspec.json.encode(action))
    if size > MAX_ACTION_BYTES:
        raise Refused(letters, f"its {len(commands)} commands have {size} bytes, the limit is {MAX_ACTION_BYTES}")
    return action


def _ids(letters: Sequence[DeadLetterRow]) -> tuple[str, ...]:
    return tuple(sorted(letter.id for letter in letters))
