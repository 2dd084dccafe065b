"""The readiness of the other roles, asked over HTTP at their ops servers. Made by the web role from READYZ_PEERS."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import aiohttp
import msgspec
from yarl import URL

from app.telemetry.health import Check

_TIMEOUT_SECONDS: Final = 3.0
_MAX_BYTES: Final = 65_536


class _Document(msgspec.Struct):
    checks: dict[str, Check]


_decoder = msgspec.json.Decoder(_Document)


class PeerReadiness:
    """Asks each of `peers` (``URL`` or ``name=URL``); their checks come back as ``name.check``.

    A peer that does not answer is one failed check under its own name. The name defaults to the URL's host:port.
    """

    def __init__(self, peers: Sequence[str]) -> None:
        self._peers = [_named(peer) for peer in peers]

    async def __call__(self) -> dict[str, Check]:
        """The checks of all peers, asked at the same time."""
        if not self._peers:
            return {}
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            answers = await asyncio.gather(*(_ask(session, name, url) for name, url in self._peers))
        return {name: check for checks in answers for name, check in checks.items()}


async def _ask(session: aiohttp.ClientSession, name: str, url: URL) -> dict[str, Check]:
    try:
        async with session.get(url) as response:
            body = await response.content.read(_MAX_BYTES)
            checks = _decoder.decode(body).checks
    except (aiohttp.ClientError, TimeoutError, OSError, msgspec.DecodeError) as error:
        return {name: Check(False, f"unavailable: {type(error).__name__}")}
    if not checks:
        return {name: Check(response.status == 200, f"status {response.status}")}
    return {f"{name}.{check}": result for check, result in checks.items()}


def _named(peer: str) -> tuple[str, URL]:
    before, _, rest = peer.partition("://")
    name, separator, scheme = before.rpartition("=")
    url = URL(f"{scheme}://{rest}")
    return (name if separator else url.authority), url
