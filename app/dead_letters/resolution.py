"""Letters become actions: what a requeue submits, and what is refused. Pure; called by `app.dead_letters.desk`.

    letters                                      what the action submits
    images of one run r of a job                 their images, as run r + 1
    job, no image usable                         the images of its open image letters, with those
    job, abandoned; fact, not folded             all images of its job's run r, as run r + 1; with what else is
                                                 requeued of that run, since one requeue has one outcome
    command (not read, or not projected)         the command, if it can be read now
    entry (was not valid)                        what the bridge makes of it, if it is valid now
    others                                       nothing: refused

An action follows from its letters alone: for the same letters it has the same id, run and commands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from bridges.translate import parse_entry, to_commands
from projections.dead_letter_reader import DeadLetterRow
from projections.text import moment
from schemas.commands import EmbedImages, decode_command
from schemas.dead_letters import ActionKind, DeadLetterAction, action_id
from schemas.errors import DeadLetter, InvalidInput
from schemas.facts import WHOLE_LIST
from schemas.ids import is_id
from schemas.topics import MAX_MESSAGE_BYTES

MAX_ACTION_BYTES: Final = MAX_MESSAGE_BYTES - (1 << 16)
LETTERS_PER_DISCARD: Final = 10_000
"""How many fit; of one job there may be more, since anybody may write broken entries that name it."""
_REQUEUE_LENGTH: Final = 16
_WHOLE_RUN: Final = {("fact", "not_folded"), ("job", "abandoned")}
_UNREADABLE: Final = "a record of the log that this release cannot read is not written again"
_NOT_PROJECTED: Final = "a message that could not be projected stands in its topic; nothing is to be submitted again"


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


def asks_for_run(letter: DeadLetterRow) -> bool:
    """Whether a letter is about a whole run of a job."""
    return (letter.subject, letter.kind) in _WHOLE_RUN


def refusal(letter: DeadLetterRow) -> Refused | None:
    """Why a letter can never be requeued, whatever else is known; None when it may be."""
    if letter.kind == "not_projected" and letter.subject != "command":
        return Refused([letter], _NOT_PROJECTED)
    if letter.subject == "fact" and not asks_for_run(letter):
        return Refused([letter], _UNREADABLE)
    return None


def discards(letters: Sequence[DeadLetterRow], order: Order) -> list[DeadLetterAction]:
    """Letters of one job, or of none, that nobody wants to see again."""
    ordered, step = sorted(letters, key=lambda letter: letter.id), LETTERS_PER_DISCARD
    return [_action("discard", ordered[start : start + step], order) for start in range(0, len(ordered), step)]


def requeue_images(letters: Sequence[DeadLetterRow], originals: Sequence[bytes], order: Order) -> DeadLetterAction:
    """The images of these letters as the next run of their job.

    `letters`: all of one run, at least one of an image. `originals`: payloads of image letters, one of each command
    that they came in; the new commands share the first one's context.
    """
    first = letters[0]
    commands = [
        _decoded(letters, original, "the command that the images came in cannot be read") for original in originals
    ]
    if any((command.pet_id, command.job_id) != (first.pet_id, first.job_id) for command in commands):
        raise Refused(letters, "the command that the images came in is of another job")
    return _next_run(letters, commands, _images(letters, letters), order)


def requeue_run(letters: Sequence[DeadLetterRow], originals: Sequence[bytes], order: Order) -> DeadLetterAction:
    """All commands of a run as the next run of their job. `originals`: the commands, as JSON.

    `letters`: all of the run, at least one that asks for all of it. Refused are only those that do.
    """
    first, about = letters[0], [letter for letter in letters if asks_for_run(letter)]
    if not first.job_id:
        raise Refused(about, "the fact answers no job, so nothing can be submitted again")
    if not originals:
        raise Refused(about, f"no command of run {first.run} of job {first.job_id} is known")
    commands = [_decoded(about, original, "a command of its job cannot be read") for original in originals]
    images = [*(image_id for command in commands for image_id in command.image_ids), *_images(letters, about)]
    if not all(command.image_ids for command in commands):
        images = [WHOLE_LIST]  # a command without images asks for the pet's list, which holds what the others name
    return _next_run(letters, commands, images, order)


def requeue_command(letter: DeadLetterRow, original: bytes, order: Order) -> DeadLetterAction:
    """The command as it was written, when this release can read it."""
    return _action("requeue", [letter], order, _decoded([letter], original, "still cannot be read"))


def requeue_entry(letter: DeadLetterRow, original: bytes, order: Order) -> DeadLetterAction:
    """The commands that the bridge would have made of a stream entry, when it is valid for this release."""
    entry_id = letter.source_id.rpartition("/")[2]
    try:
        request = parse_entry(entry_fields(original), entry_id)
        commands = to_commands(request, source=f"redis:{letter.source_id}", now=moment(letter.failed_at, "failed_at"))
    except InvalidInput as error:
        raise Refused([letter], f"still not valid: {error}") from error
    template = msgspec.structs.replace(commands[0], insights=request.insights)
    return _action("requeue", [letter], order, template, request.image_ids)


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


def _images(letters: Sequence[DeadLetterRow], refusing: Sequence[DeadLetterRow]) -> list[str]:
    """The image ids of image letters, `WHOLE_LIST` among them; what is none refuses `refusing`."""
    images = [letter.image_id for letter in letters if letter.subject == "image"]
    wrong = next((image_id for image_id in images if image_id != WHOLE_LIST and not is_id(image_id)), None)
    if wrong is not None:
        raise Refused(refusing, f"{wrong!r} is no image id")
    return images


def _next_run(
    letters: Sequence[DeadLetterRow], commands: Sequence[EmbedImages], images: Sequence[str], order: Order
) -> DeadLetterAction:
    requeue = action_id("requeue", _ids(letters)).replace("-", "")[:_REQUEUE_LENGTH]
    asked = () if WHOLE_LIST in images else tuple(sorted(set(images)))
    said = {image_id: insight for command in commands for image_id, insight in command.insights.items()}
    insights = {image_id: said[image_id] for image_id in asked if image_id in said}
    template = msgspec.structs.replace(
        commands[0], run=letters[0].run + 1, requeue=requeue, attempt=1, insights=insights
    )
    return _action("requeue", letters, order, template, asked)


def _action(
    kind: ActionKind,
    letters: Sequence[DeadLetterRow],
    order: Order,
    command: EmbedImages | None = None,
    image_ids: Sequence[str] | None = None,
) -> DeadLetterAction:
    """With `image_ids`, `command` is the template for them. A command says itself of which job it is."""
    about = command or letters[0]
    if command is not None and image_ids is not None:
        command = msgspec.structs.replace(command, part=1, parts=1, image_ids=(), job_images=0)
    action = DeadLetterAction(
        kind=kind,
        letters=_ids(letters),
        who=order.who,
        why=order.why,
        at=order.at,
        pet_id=about.pet_id,
        job_id=about.job_id,
        command=command,
        image_ids=None if image_ids is None else tuple(image_ids),
    )
    size = len(msgspec.json.encode(action))
    if size > MAX_ACTION_BYTES:
        raise Refused(letters, f"its {len(letters)} letters make {size} bytes, the limit is {MAX_ACTION_BYTES}")
    return action


def _ids(letters: Sequence[DeadLetterRow]) -> tuple[str, ...]:
    return tuple(sorted(letter.id for letter in letters))
