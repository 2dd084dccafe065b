"""Sends one request over and over on some connections and times each answer. Used by the benchmark `reads`.

Reads no more of HTTP than it needs (`Content-Length`), so that the client costs less than any server that it measures.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Final

_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"content-length:"


@dataclass(frozen=True)
class Load:
    """`seconds` of wall time in which all of `latencies` (seconds each) were answered."""

    seconds: float
    latencies: list[float]

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds


class _Connection(asyncio.Protocol):
    """Asks again as soon as it is answered, until `until` (monotonic). Anything but 200 ends the run."""

    def __init__(self, request: bytes, until: float, latencies: list[float]) -> None:
        self._request = request
        self._until = until
        self._latencies = latencies
        self._buffer = bytearray()
        self._length = -1
        self._asked = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._length < 0:
            end = self._buffer.find(_HEAD_END)
            if end < 0:
                return
            head = bytes(self._buffer[:end]).lower()
            if b" 200 " not in head.split(b"\r\n", 1)[0]:
                self._fail(RuntimeError(f"answered {head[:60].decode(errors='replace')}"))
                return
            self._length = end + len(_HEAD_END) + int(head.split(_LENGTH, 1)[1].split(b"\r\n", 1)[0])
        if len(self._buffer) < self._length:
            return
        now = time.perf_counter()
        self._latencies.append(now - self._asked)
        self._buffer.clear()
        self._length = -1
        if time.monotonic() < self._until:
            self._ask()
        else:
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if self.done.done():
            return
        if error is not None or time.monotonic() < self._until:
            self.done.set_exception(error or RuntimeError("the server closed the connection"))
        else:
            self.done.set_result(None)

    def _ask(self) -> None:
        self._asked = time.perf_counter()
        self._transport.write(self._request)

    def _fail(self, error: Exception) -> None:
        self.done.set_exception(error)
        self._transport.close()


def get(path: str, headers: dict[str, str]) -> bytes:
    """The bytes of a GET."""
    lines = [f"GET {path} HTTP/1.1", "Host: bench", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def load(host: str, port: int, request: bytes, *, connections: int, seconds: float) -> Load:
    """Raises RuntimeError for any answer but 200, OSError when the server is away."""
    loop, latencies, begun = asyncio.get_running_loop(), list[float](), time.monotonic()
    made = [
        await loop.create_connection(lambda: _Connection(request, begun + seconds, latencies), host, port)
        for _ in range(connections)
    ]
    await asyncio.gather(*(protocol.done for _, protocol in made))
    return Load(time.monotonic() - begun, latencies)
