"""The dead-letter desk in a terminal: lists of letters, counts before acting. Run by `app.commands.dead_letters`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final, Literal, TextIO
from uuid import UUID

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from app.clients import open_pool
from app.dead_letters.desk import CountChanged, LetterDesk, LetterNotFound, Result
from app.dead_letters.request import Request
from app.sender import Sender
from app.settings import Settings
from projections.dead_letter_reader import DeadLetterRow, LetterReader

CE_SOURCE: Final = "/cli"
READ_SECONDS: Final = 30.0
PIPE_WIDTH: Final = 240
"""Columns of a table that goes into a file or a pipe, so that nothing is folded."""
INDENT: Final = 2


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """How many letters a filter takes, as a line of JSON."""

    count: int


async def run(settings: Settings, request: Request, out: TextIO) -> int:
    """Do what was asked and print it; returns the exit code. Raises StopProcess and Postgres's errors."""
    console = Console(file=out, highlight=False, width=None if out.isatty() else PIPE_WIDTH)
    sender = Sender(settings, "media-dead-letters")
    try:
        async with open_pool(settings) as pool:
            desk = LetterDesk(
                LetterReader(pool),
                sender.send,
                topics=settings.topics(),
                clock=lambda: datetime.now(UTC),
                ce_source=CE_SOURCE,
                timeout=READ_SECONDS,
            )
            if request.verb == "list":
                return await _list(desk, request, console)
            if request.verb == "show":
                return await _show(desk, request.ids[0], request, console)
            return await (_act(desk, request, console) if request.ids else _act_on_all(desk, request, console))
    finally:
        await sender.close()


async def _list(desk: LetterDesk, request: Request, console: Console) -> int:
    rows, following = await desk.page(request.letters, request.limit, request.cursor)
    if request.as_json:
        _print_lines(rows, console)
        if following:
            print(f"next page: --cursor {following}", file=sys.stderr)
        return 0
    for row in rows:
        _print_row(row, console)
    console.print(f"{len(rows)} of {await desk.count(request.letters)} letters")
    if following:
        console.print(f"next page: --cursor {following}", soft_wrap=True)
    return 0


def _print_row(row: DeadLetterRow, console: Console) -> None:
    """Three lines: an id takes half of a narrow terminal. Only the reason is cut off there; `show` has it whole."""
    console.print(f"{row.id}  {row.failed_at[:19]}  {row.state}", soft_wrap=True)
    about = " / ".join(each for each in (row.pet_id, row.job_id, row.image_id) if each)
    tries = f"run {row.run}, {row.attempts} {'try' if row.attempts == 1 else 'tries'}"
    told = ", ".join(each for each in (f"{row.subject} {row.kind}", about, tries) if each)
    console.print(Text(" " * INDENT + told), soft_wrap=True)
    reason = Text(" ".join(row.reason.split()))
    if console.is_terminal:
        reason.truncate(console.width - INDENT, overflow="ellipsis")
    console.print(Text(" " * INDENT).append_text(reason), soft_wrap=True)


async def _show(desk: LetterDesk, letter_id: UUID, request: Request, console: Console) -> int:
    try:
        letter = await desk.show(letter_id)
    except LetterNotFound:
        print(f"no dead letter {letter_id} is known", file=sys.stderr)
        return 1
    if request.as_json:
        _print_lines([letter], console)
        return 0
    table = Table(show_header=False)
    for name in letter.__struct_fields__:
        value = getattr(letter, name)
        if name != "payload":
            table.add_row(name.replace("_", " "), "" if value is None else escape(str(value)))
    console.print(table)
    console.print(letter.payload, markup=False, soft_wrap=True)
    return 0


async def _act(desk: LetterDesk, request: Request, console: Console) -> int:
    result = await desk.act_on_some(_kind(request), request.ids, who=request.who, why=request.why)
    return _report(result, request, console)


async def _act_on_all(desk: LetterDesk, request: Request, console: Console) -> int:
    count = await desk.count(request.letters)
    if not request.yes:
        if request.as_json:
            _print_lines([Counted(count=count)], console)
        else:
            console.print(f"{count} letters; add --yes to {request.verb} them")
        return 0
    try:
        result = await desk.act_on_all(
            _kind(request), request.letters, who=request.who, why=request.why, expected_count=count
        )
    except CountChanged as changed:
        print(f"nothing was done: {changed}, and took {count} a moment ago", file=sys.stderr)
        return 1
    return _report(result, request, console)


def _kind(request: Request) -> Literal["requeue", "discard"]:
    return "requeue" if request.verb == "requeue" else "discard"


def _report(result: Result, request: Request, console: Console) -> int:
    if request.as_json:
        _print_lines((*result.actions, *result.refused), console)
    else:
        _print_result(result, console)
    return 1 if result.refused else 0


def _print_result(result: Result, console: Console) -> None:
    table = Table("action", "kind", "pet", "job", "letters", "commands")
    for action in result.actions:
        cells = (action.id, action.kind, action.pet_id, action.job_id, str(action.letters), str(action.commands))
        table.add_row(*map(escape, cells))
    if result.actions:
        console.print(table)
    for refused in result.refused:
        console.print(f"refused {refused.id}: {escape(refused.reason)}", soft_wrap=True)
    console.print(f"{len(result.actions)} actions confirmed, {len(result.refused)} letters refused")


def _print_lines(values: Iterable[msgspec.Struct], console: Console) -> None:
    for value in values:
        console.file.write(msgspec.json.encode(value).decode() + "\n")
