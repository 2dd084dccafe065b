"""The producer lease: a worker that may have lost its partitions writes nothing more.

A worker stopped for longer than its session timeout (SIGSTOP, a suspended machine) goes on where it was: before its
next heartbeat tells it that others have its partitions, it writes stale state over theirs. So the time of the last
successful heartbeat is kept, taken before the request was sent, and every produce request checks it: older than the
lease → abort. The wraps are on aiokafka 0.14's `GroupCoordinator` and `Sender`, which have no hook for this.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.producer.sender import Sender
from aiokafka.protocol.commit import OffsetCommitRequest

from agents.abort import Abort, abort_process

NO_GENERATION: Final = OffsetCommitRequest.DEFAULT_GENERATION_ID
"""What aiokafka sets when the coordinator does not know the worker, or not in the current generation."""


class Lease:
    """Valid for `seconds` after the last heartbeat or join that the broker answered. Not armed before the first
    join.
    """

    def __init__(
        self, seconds: float, *, clock: Callable[[], float] = time.monotonic, abort: Abort = abort_process
    ) -> None:
        self.seconds = seconds
        self._clock = clock
        self._abort = abort
        self._renewed: float | None = None

    def now(self) -> float:
        """The lease's clock, to be read before a request is sent."""
        return self._clock()

    @property
    def held(self) -> bool:
        """Whether the worker is a member of its group as far as it can know. Never aborts."""
        return self._renewed is not None and self._clock() - self._renewed <= self.seconds

    def renew(self, since: float) -> None:
        """The broker has answered a request sent at `since`. Aborts when the lease had run out by then."""
        self.check()
        self._renewed = since

    def restart(self) -> None:
        """The worker has joined the group. Aborts when it was a member before and its lease had run out.

        Others may have had its partitions meanwhile, while messages of before still wait in its producer.
        """
        self.check()
        self._renewed = self._clock()

    def lost(self) -> None:
        """The group goes on without this worker, although its heartbeats came in time, e.g. because it gave its
        partitions back too late. Aborts when it was a member.
        """
        if self._renewed is not None:
            self._abort("the consumer group has removed this worker; others may have its partitions")

    def check(self) -> None:
        """Abort when the lease has run out."""
        if self._renewed is not None and (age := self._clock() - self._renewed) > self.seconds:
            self._abort(f"producer lease ran out: no heartbeat answered for {age:.1f} s (lease {self.seconds:.1f} s)")


def install(lease: Lease) -> None:
    """Put every consumer group member and producer of this process under `lease`. Once a process."""
    heartbeat, rejoin = GroupCoordinator._do_heartbeat, GroupCoordinator._do_rejoin_group
    send = Sender._send_produce_req

    async def leased_heartbeat(self: Any) -> Any:
        sent = lease.now()
        answered = await heartbeat(self)
        if answered:
            lease.renew(sent)
        return answered

    async def leased_rejoin(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.generation == NO_GENERATION:
            lease.lost()
        joined = await rejoin(self, *args, **kwargs)
        if joined:
            lease.restart()
        return joined

    async def leased_send(self: Any, *args: Any, **kwargs: Any) -> Any:
        lease.check()
        return await send(self, *args, **kwargs)

    GroupCoordinator._do_heartbeat = leased_heartbeat
    GroupCoordinator._do_rejoin_group = leased_rejoin
    Sender._send_produce_req = leased_send
