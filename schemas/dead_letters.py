"""What operators do with dead letters: messages on `media.deadletter.actions`. JSON, keyed by pet_id or without key.

Made by the API and the command line, executed by `bridges.requeue`, projected beside the letters.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from schemas.commands import EmbedImages, split_images
from schemas.errors import DeadLetter
from schemas.ids import message_id

DEAD_LETTER_ACTION_TYPE: Final = "media.DeadLetterAction.v1"

ActionKind = Literal["requeue", "discard"]


class DeadLetterAction(msgspec.Struct, frozen=True, kw_only=True):
    """Who did what with which letters, and why. `letters`: their ids (`ce_id`), all of one job or of none.

    `command`: what a requeue submits, as it stands; with `image_ids`, the template of the commands for these images
    (without any, the pet's list is asked for). A job of 10,000 images thus is one action, and one run with one outcome.
    `at` is RFC 3339. The action's id comes from its kind and letters, so that a repeat is the same action.
    """

    kind: ActionKind
    letters: tuple[str, ...]
    who: str
    why: str
    at: str
    pet_id: str = ""
    job_id: str = ""
    command: EmbedImages | None = None
    image_ids: tuple[str, ...] | None = None

    @property
    def id(self) -> str:
        """`ce_id` of the action."""
        return action_id(self.kind, self.letters)

    @property
    def commands(self) -> tuple[EmbedImages, ...]:
        """What a requeue submits, made anew at each call: the same commands under the same ids."""
        if self.command is None:
            return ()
        return (self.command,) if self.image_ids is None else tuple(split_images(self.command, self.image_ids))


_decoder = msgspec.json.Decoder(DeadLetterAction)


def action_id(kind: ActionKind, letters: tuple[str, ...]) -> str:
    """The id of an action on these letters; their order does not matter."""
    return message_id("deadletter-action", kind, *sorted(letters))


def decode_action(raw: bytes | None) -> DeadLetterAction:
    """Raises DeadLetter when the bytes are no action."""
    try:
        return _decoder.decode(raw or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DeadLetter(f"not a dead-letter action: {error}") from error
