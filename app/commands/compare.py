"""`python -m app compare`: this service's answers beside the predecessor's, for a shadow run."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

import click
from faust.cli import option

from app.commands.command import SettingsCommand
from app.settings import Settings
from app.telemetry.logging import configure_command_logging

if TYPE_CHECKING:
    from app.compare.display import Display
    from app.compare.sources import Source


class compare(SettingsCommand):
    r"""Compare this service's answers with the predecessor's.

    \b
    Who is asked:  PREDECESSOR_URL with PREDECESSOR_TOKEN, or PREDECESSOR_REDIS_URL,
                   and the API of this service at --url with INTERNAL_TOKEN
    About which:   the pets of a file as backfill takes it, or pets of our Postgres at random

    Only reads. Exit code 1 means that the mean agreement of the grouping is below --min-agreement, or that nothing
    could be compared.
    """

    options: ClassVar[list[Any]] = [
        option(
            "--predecessor-url", metavar="URL", help="Base URL of the predecessor's API [default: PREDECESSOR_URL]."
        ),
        option("--predecessor-redis", metavar="URL", help="Its Redis, instead [default: PREDECESSOR_REDIS_URL]."),
        option("--url", metavar="URL", help="Base URL of our API [default: port WEB_PORT of this machine]."),
        option("--pets", metavar="FILE", help="CSV or JSON lines; - for standard input."),
        option("--sample", type=click.IntRange(1, 1_000_000), metavar="N", help="So many pets at random, instead."),
        option("--rate", type=click.FloatRange(0.01, 1000), default=5.0, help="Pets a second, at most."),
        option("--timeout", type=click.FloatRange(0.1, 300), default=10.0, help="Seconds for one answer."),
        option("--min-agreement", type=click.FloatRange(-1, 1), default=0.8, help="Least mean agreement (ARI)."),
        option("--report", type=Path, metavar="FILE", help="Also write a report there, in Markdown."),
        option(
            "--json", "as_json", is_flag=True, default=False, help="A line of JSON for each pet, and one at the end."
        ),
    ]

    def execute(self, settings: Settings) -> int:
        """Do it."""
        from app.compare.display import Display
        from schemas.errors import StopProcess

        path, report = self.kwargs["pets"], self.kwargs["report"]
        if (path is None) == (self.kwargs["sample"] is None):
            raise click.UsageError("one of --pets and --sample is needed")
        configure_command_logging("ERROR", settings.app_name, "compare")
        try:
            if report:
                report.touch()  # now, not after an hour
        except OSError as error:
            raise StopProcess(f"--report: cannot be written: {error}") from error
        with Display(sys.stdout, as_json=self.kwargs["as_json"]) as display:
            pets = None if path is None else _pets_of(path, display)
            return asyncio.run(_run(settings, self.kwargs, pets, display))


async def _run(settings: Settings, given: Mapping[str, Any], listed: list[str] | None, display: Display) -> int:
    import aiohttp

    from app.away import shown
    from app.compare.report import Frame, markdown, verdict
    from app.compare.run import compare as compare_all
    from app.compare.sources import OwnApi
    from app.compare.totals import Totals
    from app.pace import Pace
    from schemas.headers import timestamp, utc_now

    own_url = web_url("--url", given["url"] or f"http://127.0.0.1:{settings.web_port}")
    began, totals, stopped, least = timestamp(utc_now()), Totals(), True, given["min_agreement"]
    timeout = aiohttp.ClientTimeout(total=given["timeout"])
    async with contextlib.AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession(timeout=timeout))
        there, named = await _predecessor(settings, given, http, stack)
        here = OwnApi(http, own_url, settings.internal_token.get_secret_value())
        pets = await _sample(settings, given["sample"]) if listed is None else listed
        display.begin(len(pets))
        try:
            await compare_all(pets, there, here, Pace(given["rate"]), totals, display.pet)
            stopped = False
        finally:
            display.end(totals, least, stopped=stopped)
            if given["report"]:
                which = f"{len(pets)} pets {'at random' if listed is None else 'of a list'}"
                frame = Frame(began=began, there=named, here=shown(own_url), pets=which, least=least, stopped=stopped)
                given["report"].write_text(markdown(frame, totals), encoding="utf-8")
    return 0 if verdict(totals, least)[0] else 1


async def _predecessor(
    settings: Settings, given: Mapping[str, Any], http: Any, stack: contextlib.AsyncExitStack
) -> tuple[Source, str]:
    """The predecessor, and how a report names it. An option goes before the settings."""
    from redis.asyncio import Redis

    from app.away import shown
    from app.compare.sources import PredecessorApi, PredecessorRedis

    url, redis_url = given["predecessor_url"], given["predecessor_redis"]
    if not url and not redis_url:
        url = settings.predecessor_url
        redis_url = settings.predecessor_redis_url.get_secret_value() if settings.predecessor_redis_url else None
    if bool(url) == bool(redis_url):
        raise click.UsageError("one of --predecessor-url and --predecessor-redis is needed, or one of their settings")
    if url:
        token = settings.predecessor_token.get_secret_value()
        return PredecessorApi(http, web_url("--predecessor-url", url), token), shown(url)
    try:
        redis = await stack.enter_async_context(Redis.from_url(redis_url))
    except ValueError as error:
        raise click.UsageError(f"--predecessor-redis: {error}") from None
    return PredecessorRedis(redis, settings.predecessor_namespace, given["timeout"]), shown(redis_url)


def _pets_of(path: str, display: Display) -> list[str]:
    from app.compare.pets import pets_of_file
    from schemas.errors import StopProcess

    try:
        with sys.stdin.buffer if path == "-" else open(path, "rb") as source:
            return pets_of_file(source, display.refused)
    except OSError as error:
        raise StopProcess(f"--pets: cannot be read: {error}") from error


async def _sample(settings: Settings, number: int) -> list[str]:
    from app.clients import open_pool
    from projections.sample import sample_pets

    async with open_pool(settings) as pool:
        return await sample_pets(pool, number, random.Random())


def web_url(where: str, text: str) -> str:
    """The URL, checked. Raises UsageError naming the option."""
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise click.UsageError(f"{where}: must be an http:// or https:// URL")
    return text
