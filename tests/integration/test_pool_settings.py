"""The settings of the Postgres pool reach the server: statement timeout, size, TLS."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import struct
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg
import pytest

from app.clients import open_pool
from app.local.ports import HOST
from app.settings import Settings

SSL_REQUEST: Final = struct.pack(">ii", 8, 80877103)
"""What a client of PostgreSQL begins with when it wants TLS; see "Message Formats" in PostgreSQL's manual."""
OF_US: Final = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1"


def settings(url: str, **more: Any) -> Settings:
    values: dict[str, Any] = {"database_url": url, "_env_file": None}
    return Settings(**values | more)


@pytest.mark.parametrize(
    ("environment", "expected"), [("local", "30s"), ("development", "30s"), ("staging", "15s"), ("production", "15s")]
)
async def test_the_servers_statement_timeout_is_the_environments(
    database_url: str, environment: str, expected: str
) -> None:
    given = settings(database_url, environment=environment, internal_token="hush", database_ssl_mode="disable")
    async with open_pool(given) as pool:
        assert await pool.fetchval("SHOW statement_timeout") == expected
        # What a transaction has set for itself goes with it; what a session has set goes when the pool takes it back.
        await pool.execute("SET statement_timeout = 0")
        assert await pool.fetchval("SHOW statement_timeout") == expected


async def test_the_server_ends_a_statement_that_takes_longer(database_url: str) -> None:
    async with open_pool(settings(database_url, database_statement_timeout_ms=50)) as pool:
        with pytest.raises(asyncpg.QueryCanceledError, match="statement timeout"):
            await pool.execute("SELECT pg_sleep(60)")
        assert await pool.fetchval("SELECT 1") == 1


async def test_a_process_opens_no_more_connections_than_the_pools_size(database_url: str) -> None:
    async with open_pool(settings(database_url, database_pool_size=3)) as pool:
        held = [await pool.acquire() for _ in range(3)]
        with pytest.raises(TimeoutError):
            await pool.acquire(timeout=0.2)
        assert await held[0].fetchval(OF_US, "media-clustering") == 3
        await pool.release(held.pop())
        async with pool.acquire() as connection:
            assert await connection.fetchval(OF_US, "media-clustering") == 3
        for connection in held:
            await pool.release(connection)


@dataclass
class TlsFront:
    """Speaks TLS before a PostgreSQL that does not. `encrypted`, `plain`: connections by how they began."""

    url: str = ""
    encrypted: int = 0
    plain: int = 0
    tasks: list[asyncio.Task[None]] = field(default_factory=list)


@asynccontextmanager
async def tls_front(backend: str, certificate: Path, key: Path) -> AsyncIterator[TlsFront]:
    front, target = TlsFront(), urlsplit(backend)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.readexactly(8)
        if first == SSL_REQUEST:
            front.encrypted += 1
            writer.write(b"S")
            await writer.drain()
            await writer.start_tls(context)
            first = b""
        else:
            front.plain += 1
        upstream = await asyncio.open_connection(target.hostname, target.port)
        upstream[1].write(first)
        await asyncio.gather(_pump(reader, upstream[1]), _pump(upstream[0], writer))

    server = await asyncio.start_server(serve, HOST, 0)
    async with server:
        front.url = f"postgresql://postgres@{HOST}:{server.sockets[0].getsockname()[1]}{target.path}"
        yield front


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    except (OSError, ssl.SSLError):
        return  # the other side is gone, as it is at every end
    finally:
        sink.close()


def certify(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that nobody else has signed, and its key."""
    program = shutil.which("openssl")
    assert program is not None, "the test needs the program openssl"
    made, key = folder / "server.crt", folder / "server.key"
    command = [program, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={HOST}"]
    command += ["-addext", f"subjectAltName=IP:{HOST}", "-keyout", str(key), "-out", str(made)]
    subprocess.run(command, check=True, capture_output=True)
    return made, key


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    return certify(tmp_path)


@pytest.mark.parametrize(
    ("environment", "encrypted"), [("local", False), ("development", False), ("staging", True), ("production", True)]
)
async def test_managed_databases_are_reached_with_tls(
    database_url: str, certificate: tuple[Path, Path], environment: str, encrypted: bool
) -> None:
    async with tls_front(database_url, *certificate) as front:
        given = settings(front.url, environment=environment, internal_token="hush")
        async with open_pool(given) as pool:
            assert await pool.fetchval("SELECT 1") == 1
        assert (front.encrypted > 0, front.plain > 0) == (encrypted, not encrypted)


async def test_require_does_not_go_on_without_tls(database_url: str) -> None:
    async with open_pool(settings(database_url, database_ssl_mode="require")) as pool:
        with pytest.raises(ConnectionError, match="rejected SSL upgrade"):
            await pool.fetchval("SELECT 1")
    async with open_pool(settings(database_url, database_ssl_mode="prefer")) as pool:
        assert await pool.fetchval("SELECT 1") == 1


async def test_verify_full_takes_only_a_certificate_that_it_knows(
    database_url: str, certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other, _ = certify(tmp_path / "other")
    async with tls_front(database_url, *certificate) as front:
        known = f"{front.url}?sslrootcert={certificate[0]}"
        async with open_pool(settings(known, database_ssl_mode="verify-full")) as pool:
            assert await pool.fetchval("SELECT 1") == 1
        async with open_pool(settings(f"{front.url}?sslrootcert={other}", database_ssl_mode="verify-full")) as pool:
            with pytest.raises(ssl.SSLError):
                await pool.fetchval("SELECT 1")
