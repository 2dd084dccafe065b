"""Checks before a role starts that it can listen where its settings say. Called by app/commands/roles.py.

The servers themselves would fail a moment later and deep inside, with a traceback that names no setting.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from dataclasses import dataclass

from app.settings import Settings
from schemas.errors import StopProcess


@dataclass(frozen=True)
class Address:
    """Where a server is to listen; `setting` is the variables' common beginning, e.g. WEB for WEB_HOST and WEB_PORT."""

    setting: str
    host: str
    port: int


def role_addresses(settings: Settings, *, web: bool = False, roles: int = 1) -> Iterator[Address]:
    """What `roles` processes listen on: the metrics of each, and the API where `web`."""
    if web:
        yield Address("WEB", settings.web_host, settings.web_port)
    if settings.worker_metrics_enabled:
        for number in range(roles):
            yield Address("WORKER_METRICS", settings.worker_metrics_host, settings.worker_metrics_port + number)


def check_free(address: Address) -> None:
    """Raise StopProcess, naming the variable, when nobody could listen on the address now."""
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise StopProcess(f"{address.setting}_HOST: {address.host} is no address here: {error.strerror}") from None
    for family, kind, protocol, _name, place in found:
        try:
            _bind(family, kind, protocol, place)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                reason = f"{address.setting}_PORT: another process listens on port {address.port} of {address.host}"
            else:
                variables = f"{address.setting}_HOST, {address.setting}_PORT"
                reason = f"{variables}: cannot listen on port {address.port} of {address.host}: {error.strerror}"
            raise StopProcess(reason) from None


def _bind(family: int, kind: int, protocol: int, place: tuple[str | int, ...] | tuple[int, bytes]) -> None:
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # an earlier server's connections may linger
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        probe.bind(place)
