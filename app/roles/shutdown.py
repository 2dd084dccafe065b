"""Ends a role in good order at the first SIGTERM or SIGINT, and at once at the second or when its deadline has passed.

Called by app.roles.role and app.roles.faust_worker. Signals are read by a thread of their own, from the file to which
the interpreter writes them when they come in: an event loop that is blocked, or waits for a broker that never answers,
holds up neither the second signal nor the deadline. Ending at once is as safe as SIGKILL: see docs/delivery.md.
"""

from __future__ import annotations

import faulthandler
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import structlog

from agents.abort import Abort, abort_process

log = structlog.get_logger(__name__)

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class Shutdown:
    """The end of this process. `seconds`: from the first signal to the end at the latest."""

    def __init__(self, seconds: float, *, abort: Abort = abort_process) -> None:
        self._seconds = seconds
        self._abort = abort
        self._reading, self._writing = os.pipe()

    def install(self, begin: Callable[[], object]) -> None:
        """Call `begin`, on another thread, at the first signal. Once a process, on its main thread.

        Takes the interpreter's wakeup file, so no loop of this process may have signal handlers of its own. SIGUSR1
        prints what every thread is doing to stderr.
        """
        os.set_blocking(self._writing, False)
        signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        for number in STOP_SIGNALS:
            signal.signal(number, _leave_to_the_thread)
        faulthandler.register(signal.SIGUSR1)
        threading.Thread(target=self._watch, args=(begin,), name="shutdown", daemon=True).start()

    def _watch(self, begin: Callable[[], object]) -> None:
        first = self._next_signal(None)
        deadline = time.monotonic() + self._seconds
        log.info("stopping", signal=first.name if first else None, within_seconds=self._seconds)
        begin()
        if second := self._next_signal(deadline):
            self._abort(f"a second {second.name}: ended without waiting for work in hand")
        self._abort(
            f"not stopped within SHUTDOWN_SECONDS ({self._seconds:g} s): ended without waiting for work in hand"
        )

    def _next_signal(self, deadline: float | None) -> signal.Signals | None:
        """The next of `STOP_SIGNALS`; None when the deadline has passed."""
        incoming = select.poll()
        incoming.register(self._reading, select.POLLIN)
        while deadline is None or time.monotonic() < deadline:
            wait = None if deadline is None else 1000 * max(0.0, deadline - time.monotonic())
            if incoming.poll(wait) and (number := os.read(self._reading, 1)[0]) in STOP_SIGNALS:
                return signal.Signals(number)
        return None


def _leave_to_the_thread(_number: int, _frame: Any) -> None:
    """A handler must be set for the signal to be written to the wakeup file."""
