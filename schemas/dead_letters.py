"""What operators do with dead letters: messages on `media.deadletter.actions`. JSON, keyed by pet_id or without key.

Made by the API and the command line, executed by `bridges.requeue`, projected beside the letters.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from schemas.commands import EmbedImages
from schemas.errors import DeadLetter
from schemas.ids import message_id

DEAD_LETTER_ACTION_TYPE: Final = "media.DeadLetterAction.v1"
MAX_LETTERS_PER_ACTION: Final = 64

ActionKind = Literal["requeue", "discard"]


class DeadLetterAction(msgspec.Struct, frozen=True, kw_only=True):
    """Who did what with which letters, and why. `letters`: their ids (`ce_id`), all of one job or of none.

    `commands`: what a requeue submits: the letters' images as the next run of their job. `at` is RFC 3339. The action's
    id comes from its kind and letters, so that a repeat is the same action.
    """

    kind: ActionKind
    letters: tuple[str, ...]
    who: str
    why: str
    at: str
    pet_id: str = ""
    job_id: str = ""
    commands: tuple[EmbedImages, ...] = ()

    @property
    def id(self) -> str:
        """`ce_id` of the action."""
        return action_id(self.kind, self.letters)


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
