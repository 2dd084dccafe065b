"""Decides when a worker stands still although it has work, and ends it then. Pure: it is given samples and a clock.

Called by agents.watchdog_service, which takes the samples. Each rule measures for how long something has not moved:

    lag         records stand behind the finished position, and nothing was finished: no event, no acknowledged message
    commit      finished events are ahead of what the broker has committed, and the commit does not move
    recovery    the tables are not recovered, and no offset moves; the local tables are set aside before the end
    membership  no heartbeat is answered, although the brokers answer others

While the worker is not a member of its group the first three say nothing: the broker is away, and the lease
(agents.lease) ends the worker when it comes back. The loop that no longer runs is `LoopWatch`'s.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field

from agents.abort import Abort, abort_process


@dataclass(frozen=True)
class Positions:
    """Offsets of one assigned partition. `first` and `end`: the oldest record there is and the one behind the last."""

    first: int
    end: int
    finished: int
    committed: int

    @property
    def lag(self) -> int:
        """Records that are not finished."""
        return max(0, self.end - max(self.first, self.finished))


@dataclass(frozen=True)
class Recovery:
    """A rebalance or recovery under way. `moving`: what changes while it gets on. `remaining`: changelog records."""

    moving: Hashable
    remaining: int


@dataclass(frozen=True)
class Sample:
    """A worker at one moment. `progress`, `in_flight`: of `Delivery`. `partitions`: by ``topic/number``."""

    member: bool
    brokers_answer: bool = True
    progress: int = 0
    in_flight: int = 0
    recovery: Recovery | None = None
    partitions: Mapping[str, Positions] = field(default_factory=dict)


class RunClock:
    """Seconds that this process has run: a gap between two readings counts as at most `longest_gap`.

    So neither SIGSTOP nor a suspended machine makes anything look stuck. Read it at least every `longest_gap` seconds.
    """

    def __init__(self, longest_gap: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._longest_gap = longest_gap
        self._clock = clock
        self._last = clock()
        self._run = 0.0

    def __call__(self) -> float:
        """The time; never goes back."""
        now = self._clock()
        self._run += min(now - self._last, self._longest_gap)
        self._last = now
        return self._run


class _Unmoved:
    """For how long a state has been the same."""

    def __init__(self) -> None:
        self._state: Hashable = None
        self._since = 0.0

    def seconds(self, state: Hashable, now: float) -> float:
        """Seconds that `state` has lasted; None is the state in which nothing is stuck."""
        if state is None or state != self._state:
            self._state, self._since = state, now
        return 0.0 if state is None else now - self._since


class Watchdog:
    """Aborts when a rule's state has lasted `seconds`. `set_aside_tables`: moves the local tables away."""

    def __init__(
        self,
        seconds: float,
        *,
        clock: Callable[[], float],
        set_aside_tables: Callable[[], str],
        abort: Abort = abort_process,
    ) -> None:
        self._seconds = seconds
        self._clock = clock
        self._set_aside_tables = set_aside_tables
        self._abort = abort
        self._membership, self._recovery, self._lag = _Unmoved(), _Unmoved(), _Unmoved()
        self._commits: dict[str, _Unmoved] = {}

    def observe(self, sample: Sample) -> None:
        """Apply every rule to `sample`."""
        now = self._clock()
        self._check_membership(sample, now)
        self._check_recovery(sample, now)
        working = sample.member and sample.recovery is None
        self._check_lag(sample, sample.partitions if working else {}, now)
        self._check_commits(sample.partitions if working else {}, now)

    def _check_membership(self, sample: Sample, now: float) -> None:
        stuck = None if sample.member or not sample.brokers_answer else "away"
        if (unmoved := self._membership.seconds(stuck, now)) >= self._seconds:
            self._abort(f"stuck membership: the brokers answer, but no heartbeat or join of ours for {unmoved:.0f} s")

    def _check_recovery(self, sample: Sample, now: float) -> None:
        recovery = sample.recovery if sample.member else None
        moving = None if recovery is None else (recovery.moving, sample.progress)
        unmoved = self._recovery.seconds(moving, now)
        if recovery is None or unmoved < self._seconds:
            return
        tables = f"; {self._set_aside_tables()}" if recovery.remaining else ""
        self._abort(
            f"stuck recovery: no offset moved for {unmoved:.0f} s, {recovery.remaining} changelog records remain"
            f"{tables}"
        )

    def _check_lag(self, sample: Sample, partitions: Mapping[str, Positions], now: float) -> None:
        behind = {name: at for name, at in sorted(partitions.items()) if at.lag}
        if (unmoved := self._lag.seconds(sample.progress if behind else None, now)) >= self._seconds:
            records = sum(at.lag for at in behind.values())
            where = ", ".join(f"{name} finished up to {at.finished} of {at.end}" for name, at in behind.items())
            self._abort(
                f"lag without progress: nothing finished for {unmoved:.0f} s with {records} records waiting and "
                f"{sample.in_flight} in flight: {where}"
            )

    def _check_commits(self, partitions: Mapping[str, Positions], now: float) -> None:
        self._commits = {name: self._commits.get(name, _Unmoved()) for name in partitions}
        for name, at in partitions.items():
            stuck = at.committed if at.finished > at.committed else None
            if (unmoved := self._commits[name].seconds(stuck, now)) >= self._seconds:
                self._abort(
                    f"stuck commit: {name} is finished up to {at.finished}, but its committed offset has been "
                    f"{at.committed} for {unmoved:.0f} s"
                )


class LoopWatch:
    """Ends the process when its event loop has not run for `seconds`. `beat` on the loop, `check` on another thread."""

    def __init__(self, seconds: float, *, clock: Callable[[], float], abort: Abort = abort_process) -> None:
        self._seconds = seconds
        self._clock = clock
        self._abort = abort
        self._beats = 0
        self._unmoved = _Unmoved()

    def beat(self) -> None:
        """The loop runs."""
        self._beats += 1

    def check(self) -> None:
        """Abort when there was no beat for too long. Only calls of this read the clock."""
        if (unmoved := self._unmoved.seconds(self._beats, self._clock())) >= self._seconds:
            self._abort(f"blocked event loop: it has not run for {unmoved:.0f} s")
