"""Readiness: checks, how they are run and the document that `/readyz` answers. Used by the ops server and the API."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import msgspec

from projections.within import within


@dataclass(frozen=True)
class Check:
    """Whether something works, and what is known about it; `detail` is read by people and holds no secret."""

    ok: bool
    detail: str = ""


Readiness = Callable[[], Awaitable[dict[str, Check]]]


async def ping_check(ping: Callable[[], Awaitable[object]], seconds: float) -> Check:
    """Await `ping`. An exception, False or no answer within `seconds` is a failed check, told by the error's type."""
    try:
        answer = await within(seconds, _answer(ping))
    except TimeoutError:
        return Check(False, f"no answer in {seconds:g} s")
    except Exception as error:  # whatever a client raises, readiness tells it instead of failing itself
        return Check(False, f"unavailable: {type(error).__name__}")
    return Check(answer is not False, "reachable" if answer is not False else "unavailable")


async def _answer(ping: Callable[[], Awaitable[object]]) -> object:
    return await ping()


async def ping_checks(pings: Mapping[str, Callable[[], Awaitable[object]]], seconds: float) -> dict[str, Check]:
    """`ping_check` of all at the same time, by name in the order given."""
    checks = await asyncio.gather(*(ping_check(ping, seconds) for ping in pings.values()))
    return dict(zip(pings, checks, strict=True))


def readiness_document(checks: Mapping[str, Check]) -> tuple[int, bytes]:
    """HTTP status (200 or 503) and JSON body: ``{"status":"ready|not_ready","failing":[name…],"checks":{name:{"ok":…,
    "detail":…}}}``.

    Whether a role is only starting or what it needs went away, it cannot know; `failing` and the details tell.
    """
    failing = [name for name, check in checks.items() if not check.ok]
    status = "not_ready" if failing else "ready"
    return (503 if failing else 200), msgspec.json.encode(
        {"status": status, "failing": failing, "checks": dict(checks)}
    )
