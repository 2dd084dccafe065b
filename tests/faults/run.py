"""One seed: start everything, strike for a while under load, heal, let everything end, judge. Called by __main__.py and
test_short.py.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from schemas.dead_letters import decode_action
from tests.e2e.kafka_log import read_topic
from tests.faults.attack import Attack
from tests.faults.audit import audit
from tests.faults.case import ENDS, Case, Finding
from tests.faults.checks.http import REDIS_AWAY, posts_in_question
from tests.faults.evidence import Evidence, collect, repeats
from tests.faults.fault import Named
from tests.faults.ledger import JobKey
from tests.faults.load import generate, post_while
from tests.faults.operator_at_work import operate
from tests.faults.paths import exits_of, path_of
from tests.faults.probes import Probes
from tests.faults.quiet import until_quiet
from tests.faults.stack import Stack
from tests.faults.waiting import until
from tests.faults.watch import Watch
from tests.faults.without import patch_lines

END_SECONDS: Final = 240.0
"""From the last heal until every job has ended and every cached answer is current."""
SETTLE_SECONDS: Final = 40.0
PATHS_SHOWN: Final = 3

Say = Callable[[str], None]


@dataclass
class Result:
    """What a seed came to. `struck`: fault → how often; `recovery`: fault → seconds; `notes`: what could not be done.

    `delivered`, `repeated`: topic → messages, and how many of them repeat an earlier one's id. `patches`: process →
    what it said about the protection that it ran without.
    """

    seed: int
    seconds: float
    jobs: int = 0
    struck: dict[str, int] = field(default_factory=dict)
    recovery: dict[str, list[float]] = field(default_factory=dict)
    delivered: dict[str, int] = field(default_factory=dict)
    repeated: dict[str, int] = field(default_factory=dict)
    counts: dict[str, float] = field(default_factory=dict)
    exits: dict[str, int] = field(default_factory=dict)
    patches: dict[str, list[str]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether nothing was found."""
        return not self.findings


async def run_seed(
    seed: int,
    seconds: float,
    faults: Sequence[Named],
    *,
    off: str = "",
    settings: Mapping[str, str] | None = None,
    say: Say = print,
    keep: Path | None = None,
) -> Result:
    """Run one seed. `off`: see SupervisedService; `keep`: folder for the logs of a red run, None for none."""
    with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as folder:
        stack = Stack(Path(folder), off=off, settings=settings)
        try:
            await stack.open()
            run = _Run(stack, seed, seconds, faults, say)
            result = await run.go()
            if keep is not None and not result.passed:
                _keep_logs(stack, keep)
            return result
        finally:
            await stack.close()


class _Run:
    """The parts of one seed's run."""

    def __init__(self, stack: Stack, seed: int, seconds: float, faults: Sequence[Named], say: Say) -> None:
        self._stack = stack
        self._seed = seed
        self._say = say
        self._begun = time.monotonic()
        left_out = {named.kind.name: why for named in faults if (why := named.make.unavailable(stack))}
        usable = {named.kind.name: named for named in faults if named.kind.name not in left_out}
        self._late: list[JobKey] = []
        self._unfinished: list[str] = []
        self._watch = Watch(
            stack.servers.database_url, stack.servers.cache_redis.url, stack.service.namespace, stack.outages
        )
        self._probes = Probes(stack.submitter, self._watch.seen)
        self._attack = Attack(stack, seed, usable, self._probes, self._tell)
        self.result = Result(seed, seconds, notes=[f"left out {name}: {why}" for name, why in left_out.items()])

    async def go(self) -> Result:
        """From the first job to the verdict."""
        watching = asyncio.create_task(self._watch.run())
        going = asyncio.create_task(self._go_through())
        try:
            await asyncio.wait({watching, going}, return_when=asyncio.FIRST_COMPLETED)
            if not going.done():
                watching.result()  # without its samples the run proves nothing: raise what ended it
            answers = await going
        finally:
            tasks = (watching, going, *self._attack.waiting)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await self._stop_roles()
        await self._judge(answers)
        return self.result

    async def _go_through(self) -> dict[str, dict[str, object]]:
        """Load and faults, then the end of it; what the API says of each pet then."""
        await self._strike_under_load()
        await self._let_everything_end()
        return await self._answers()

    async def _strike_under_load(self) -> None:
        stack, seconds = self._stack, self.result.seconds
        over = asyncio.Event()
        load = [
            asyncio.create_task(generate(stack.submitter, self._seed, over, lambda key: key in self._watch.seen.ended)),
            asyncio.create_task(post_while(stack.submitter, lambda: stack.outages.lasts(REDIS_AWAY), over)),
        ]
        stack.submitter.start(operate(stack.submitter, stack.ledger, self._seed, seconds, over))
        await self._attack.strike(seconds)
        over.set()
        await asyncio.gather(*load)

    async def _let_everything_end(self) -> None:
        begun = time.monotonic()
        runs: dict[JobKey, int] = {}
        try:
            async with asyncio.timeout(END_SECONDS):
                await self._stack.submitter.finish()
                runs = await self._requeued_runs()
                await until(lambda: not self._open_jobs(runs))
        except TimeoutError:
            self._late = self._open_jobs(runs)
            self._tell(f"{len(self._late)} jobs have not ended within {END_SECONDS:.0f} s: {self._late[:5]}")
        self.result.counts["seconds to the end"] = round(time.monotonic() - begun)
        self._unfinished += await self._probes.close(within=5.0)
        self._unfinished += await self._attack.not_back()
        await self._stack.submitter.close()
        with suppress(TimeoutError):  # then the audit says so
            async with asyncio.timeout(SETTLE_SECONDS):
                await until_quiet(self._stack.service)
                await until(lambda: not self._cached_behind())

    async def _requeued_runs(self) -> dict[JobKey, int]:
        """The last run that each requeued job must come to."""
        topic = self._stack.service.topics.deadletter_actions.name
        runs: dict[JobKey, int] = {}
        for record in await read_topic(self._stack.service.bootstrap_servers, topic):
            for command in decode_action(record.value).commands:
                key = (command.pet_id, command.job_id)
                runs[key] = max(command.run, runs.get(key, 1))
        return runs

    def _open_jobs(self, runs: Mapping[JobKey, int]) -> list[JobKey]:
        ended = self._watch.seen.ended
        return [key for key in self._stack.ledger.jobs if ended.get(key, 0) < runs.get(key, 1)]

    def _cached_behind(self) -> bool:
        seen = self._watch.seen
        return any(version != seen.versions.get(pet) for pet, version in seen.cached.items())

    async def _answers(self) -> dict[str, dict[str, object]]:
        """What the API says of each pet at the end."""
        answers = {}
        for pet in self._stack.ledger.pets():
            path = f"/internal/pets/{pet}/clusters"
            status, answer = await self._stack.service.get(path)
            self._stack.ledger.note_answer(f"GET {path}", status, str(answer))
            answers[pet] = answer if isinstance(answer, dict) else {"error": answer}
        return answers

    async def _stop_roles(self) -> None:
        codes = await self._stack.service.end()
        if strange := {name: code for name, code in codes.items() if code != 0}:
            self.result.notes.append(f"exit codes at the end: {strange}")

    async def _judge(self, answers: dict[str, dict[str, object]]) -> None:
        stack = self._stack
        logs = {path.stem: path.read_text(errors="replace") for path in sorted(stack.service.root.glob("*.log"))}
        evidence = await collect(stack.service)
        case = Case(
            stack.ledger,
            evidence,
            self._watch.seen,
            stack.outages,
            logs,
            answers,
            seconds=self.result.seconds,
            struck=dict(sorted(self._attack.struck.items())),
            exits=stack.service.exits,
            late=self._late,
            broken_promises=stack.broken_promises,
            unfinished=self._unfinished,
        )
        self.result.findings = await asyncio.to_thread(audit, case)
        self._sum_up(case, evidence)
        if not self.result.passed:
            self._explain(case)

    def _sum_up(self, case: Case, evidence: Evidence) -> None:
        result, ledger = self.result, case.ledger
        result.jobs = len(ledger.jobs)
        result.struck = case.struck
        result.recovery = {name: sorted(seconds) for name, seconds in sorted(self._probes.seconds.items())}
        result.delivered = {name: len(records) for name, records in evidence.topics().items()}
        result.repeated = {name: repeats(records) for name, records in evidence.topics().items()}
        posts = posts_in_question(ledger.posts, case.outages)
        result.patches = {name: patch_lines(log) for name, log in case.logs.items()}
        result.counts |= {
            **self._stack.counts,
            **ledger.sends,
            "poison": len(ledger.poison),
            "jobs ended": sum(row["state"] in ENDS for row in evidence.job_rows.values()),
            "samples": case.seen.samples,
            "longest seconds that a cached answer was behind": round(case.seen.longest_behind, 1),
            "posts without redis": len(posts),
            "posts without redis, 202": sum(post.status == 202 for post in posts),
        }
        result.exits = dict(
            Counter(f"{each.name} {each.code} {each.asked or 'by itself'}" for each in self._stack.service.exits)
        )

    def _explain(self, case: Case) -> None:
        for finding in self.result.findings[:40]:
            self._say(f"RED {finding.invariant}: {finding.job or ''} {finding.text}")
        keys = dict.fromkeys(finding.job for finding in self.result.findings if finding.job)
        for key in list(keys)[:PATHS_SHOWN]:
            self._say(f"--- the way of {key}")
            for line in path_of(case, key):
                self._say(line)
        for line in exits_of(self._stack.service.exits, self._begun):
            self._say(line)
        for name, log in case.logs.items():
            self._say(f"--- the end of {name}.log\n{log[-1500:]}")

    def _tell(self, text: str) -> None:
        self._say(f"{time.monotonic() - self._begun:6.1f} s  {text}")


def _keep_logs(stack: Stack, folder: Path) -> None:
    """Copy the processes' and the servers' logs to where they outlive the run."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted([*stack.service.root.glob("*.log"), *stack.root.glob("*/*.log")]):
        (folder / f"{path.parent.name}-{path.name}").write_bytes(path.read_bytes())


def as_row(result: Result, commit: str) -> dict[str, Any]:
    """The line of docs/reliability-runs.jsonl."""
    return {
        "commit": commit,
        "seed": result.seed,
        "seconds": result.seconds,
        "jobs": result.jobs,
        "outcome": "passed" if result.passed else "failed",
        "findings": dict(Counter(finding.invariant for finding in result.findings)),
        "struck": result.struck,
        "recovery": result.recovery,
        "delivered": result.delivered,
        "repeated": result.repeated,
        "counts": result.counts,
        "exits": result.exits,
        "notes": result.notes,
    }
