"""Purges in a terminal: ask for one, wait for its receipt, check that nothing is left. Run by `app.commands.purge`."""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from app.away import stores_told
from app.clients import open_pool, open_redis
from app.purges.check import Checked, check
from app.purges.desk import PurgeDesk, make_purge_id
from app.purges.known import is_known
from app.purges.request import Request
from app.sender import Sender
from app.settings import Settings
from projections.purges import PurgeRecords, PurgeRow
from schemas.headers import timestamp

CE_SOURCE: Final = "/cli"
READ_SECONDS: Final = 30.0
WAIT_SECONDS: Final = 120.0
POLL_SECONDS: Final = 0.2
PIPE_WIDTH: Final = 240
"""Columns of a table that goes into a file or a pipe, so that nothing is folded."""


async def run(settings: Settings, request: Request, out: TextIO) -> int:
    """Do what was asked and print it; returns the exit code. Raises StopProcess and the stores' errors."""
    redis = open_redis(settings)
    try:
        async with open_pool(settings) as pool:
            if request.check:
                return _show_check(await check(settings, pool, redis, request.pet_id), request, out)
            return await _purge(settings, pool, request, out)
    finally:
        await redis.aclose()


async def _purge(settings: Settings, pool: Any, request: Request, out: TextIO) -> int:
    if not request.even_unknown and not await is_known(settings, pool, request.pet_id):
        print(
            f"nothing is known of {request.pet_id}: nothing was purged; --even-unknown refuses what was sent of it"
            " up to now all the same",
            file=sys.stderr,
        )
        return 1
    purge_id = request.purge_id or make_purge_id()
    again = f"repeat purge {purge_id} with: {shlex.join(_repeat(request, purge_id))}"
    with stores_told(settings, f"; {again}"):
        done = await _ask(settings, pool, request, purge_id, again)
    _show_purge(done, request, out)
    return 1 if request.wait and done.status == "pending" else 0


async def _ask(settings: Settings, pool: Any, request: Request, purge_id: str, again: str) -> PurgeRow:
    sender = Sender(settings, "media-purge", again)
    desk = PurgeDesk(
        PurgeRecords(pool),
        sender.send,
        topics=settings.topics(),
        clock=lambda: datetime.now(UTC),
        ce_source=CE_SOURCE,
        timeout=READ_SECONDS,
    )
    try:
        purge = await desk.ask(
            request.pet_id, who=request.who, why=request.why, purge_id=purge_id, is_new=request.purge_id is None
        )
        return await _until_purged(desk, purge, settings.project_redis) if request.wait else purge
    finally:
        await sender.close()


def _repeat(request: Request, purge_id: str) -> Iterator[str]:
    """The command line that asks for the same purge again, and for no second one."""
    yield from ("python", "-m", "app", "purge", request.pet_id, "--purge-id", purge_id)
    yield from ("--why", request.why, "--who", request.who)
    chosen = {"--even-unknown": request.even_unknown, "--wait": request.wait, "--json": request.as_json}
    yield from (name for name, given in chosen.items() if given)


async def _until_purged(desk: PurgeDesk, asked: PurgeRow, cached: bool) -> PurgeRow:
    """The receipt, or the purge as it stands when it takes too long. `cached`: whether a projector writes to Redis."""
    deadline, purge = asyncio.get_running_loop().time() + WAIT_SECONDS, asked
    while not _is_done(purge, cached) and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(POLL_SECONDS)
        purge = await desk.find(asked.pet_id, asked.purge_id) or asked
    return purge


def _is_done(purge: PurgeRow, cached: bool) -> bool:
    return purge.status == "purged" and (purge.cache_removed_at is not None or not cached)


def _show_purge(purge: PurgeRow, request: Request, out: TextIO) -> None:
    if request.as_json:
        out.write(msgspec.json.encode(purge).decode() + "\n")
        return
    console = _console(out)
    console.print(escape(f"purge {purge.purge_id} of {purge.pet_id}: {purge.status}"), soft_wrap=True)
    if purge.removed is None:
        return
    table = Table("where", "removed")
    for name, rows in purge.removed.postgres.items():
        table.add_row(f"Postgres {name}", str(rows))
    table.add_row("Redis", f"answer gone at {purge.cache_removed_at}" if purge.cache_removed_at else "not yet")
    console.print(table)
    console.print(f"the next version is {(purge.last_version or 0) + 1}")


def _show_check(checked: Checked, request: Request, out: TextIO) -> int:
    purge = checked.purge
    if request.as_json:
        told = {
            "pet_id": request.pet_id,
            "purge_id": purge.purge_id if purge else None,
            "purged_at": timestamp(purge.purged_at) if purge else None,
            "clean": checked.clean,
            "findings": checked.findings,
        }
        out.write(msgspec.json.encode(told).decode() + "\n")
        return 0 if checked.clean else 1
    console = _console(out)
    if purge is None:
        console.print(escape(f"the log tells of no purge of {request.pet_id}"), soft_wrap=True)
        return 1
    if checked.findings:
        table = Table("where", "", "what")
        for each in checked.findings:
            table.add_row(*map(escape, (each.place, each.verdict, each.what)))
        console.print(table)
    left = sum(each.verdict == "left" for each in checked.findings)
    said = f"{left} places still hold something" if left else "nothing is left"
    console.print(escape(f"purge {purge.purge_id} of {purge.pet_id}: {said}"), soft_wrap=True)
    return 1 if left else 0


def _console(out: TextIO) -> Console:
    return Console(file=out, highlight=False, width=None if out.isatty() else PIPE_WIDTH)
