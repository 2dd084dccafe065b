"""Collects what letters are resolved to until it is sent. Used by `app.dead_letters.desk`.

A letter that such an action has settled already gets the recorded action again, byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from app.dead_letters import resolution
from app.dead_letters.resolution import Order, Refused
from projections.dead_letter_reader import DeadLetterRow, LetterView
from schemas.dead_letters import ActionKind, DeadLetterAction, decode_action

SEND_ACTIONS: Final = 100
SEND_BYTES: Final = 4_000_000


class Drafts:
    """Actions that are resolved and not yet sent, and what was refused."""

    def __init__(self, kind: ActionKind, order: Order) -> None:
        self._kind = kind
        self._order = order
        self._actions: dict[str, tuple[DeadLetterAction, bytes]] = {}
        self._bytes = 0
        self.refused: list[Refused] = []

    @property
    def full(self) -> bool:
        """Whether they should be sent before more are added."""
        return len(self._actions) >= SEND_ACTIONS or self._bytes >= SEND_BYTES

    def take(self) -> list[tuple[DeadLetterAction, bytes]]:
        """The actions with their bytes, each once; none are left."""
        taken, self._actions, self._bytes = list(self._actions.values()), {}, 0
        return taken

    async def add(self, view: LetterView, letters: Sequence[DeadLetterRow]) -> None:
        """Resolve letters of one run of a job, or of none."""
        settled = "requeued" if self._kind == "requeue" else "discarded"
        recorded = {letter.action_id for letter in letters if letter.state == settled and letter.action_id}
        for action_id in sorted(recorded):
            message = await view.action_message(action_id)
            self._draft(decode_action(message), message)
        waiting = [letter for letter in letters if letter.state != settled]
        if self._kind == "discard":
            self._discard(waiting)
        else:
            await self._requeue(view, waiting)

    def _discard(self, letters: Sequence[DeadLetterRow]) -> None:
        requeued = [letter for letter in letters if letter.state == "requeued"]
        if requeued:
            self.refused.append(Refused(requeued, "it was requeued already"))
        for action in resolution.discards([each for each in letters if each.state != "requeued"], self._order):
            self._draft(action)

    async def _requeue(self, view: LetterView, letters: Sequence[DeadLetterRow]) -> None:
        """One action for what is requeued of a run, so that it has one outcome; one for each command or entry."""
        of_run = [letter for letter in letters if resolution.asks_for_run(letter)]
        refused = {letter.id: refusal for letter in letters if (refusal := resolution.refusal(letter))}
        self.refused += refused.values()
        others = [each for each in letters if each.id not in refused and not resolution.asks_for_run(each)]
        of_images = [letter for letter in others if letter.subject in ("image", "job")]
        if of_run:
            originals = await view.first_commands(of_run[0])
            if self._try(resolution.requeue_run, [*of_run, *of_images], originals):
                of_images = []
        if of_images:
            await self._requeue_images(view, of_images)
        for letter in others:
            if letter.subject not in ("image", "job"):
                resolve = resolution.requeue_command if letter.subject == "command" else resolution.requeue_entry
                self._try(resolve, letter, await view.payload(letter.id))

    async def _requeue_images(self, view: LetterView, letters: Sequence[DeadLetterRow]) -> None:
        known = {letter.id: letter for letter in letters}
        job = next((letter for letter in letters if letter.subject == "job"), None)
        if job is not None:
            known |= {letter.id: letter for letter in await view.open_images(job)}
        images = sorted(letter_id for letter_id, letter in known.items() if letter.subject == "image")
        if not images:
            self.refused.append(Refused(letters, "no open letter of an image of this run of the job is known"))
            return
        of_command = {known[letter_id].source_id: letter_id for letter_id in reversed(images)}
        originals = [await view.payload(letter_id) for letter_id in sorted(of_command.values())]
        self._try(resolution.requeue_images, list(known.values()), originals)

    def _try(self, resolve: Callable[..., DeadLetterAction], *material: Any) -> bool:
        """Whether the letters could be resolved."""
        try:
            self._draft(resolve(*material, self._order))
        except Refused as refusal:
            self.refused.append(refusal)
            return False
        return True

    def _draft(self, action: DeadLetterAction, message: bytes | None = None) -> None:
        value = message or msgspec.json.encode(action)
        self._actions[action.id] = (action, value)
        self._bytes += len(value)
