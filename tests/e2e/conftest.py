"""One running service for the tests that only use it; tests that kill roles make their own."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import numpy as np
import pytest
from PIL import Image

from app.local.kafka import KafkaServer
from app.local.postgres import PostgresServer
from app.local.redis import RedisServer
from tests.e2e.service import SIMILARITY_TOKEN, Service
from tests.photos import photo

BURSTS = ("astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg")
APART = "motorcycle_left.png"
"""Of the search across pets alone: in its index stand the photos of all tests' pets."""
SHOTS = 12


@pytest.fixture(scope="session")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of photos: five photographs, twelve shots of each, named ``{photo}-{shot}.jpg``."""
    folder = tmp_path_factory.mktemp("album")
    random = np.random.default_rng(0)
    for name in (*BURSTS, APART):
        picture = photo(name)
        for shot in range(SHOTS):
            _crop(picture, random).save(folder / f"{name.partition('.')[0]}-{shot}.jpg", quality=80)
    (folder / "broken.jpg").write_bytes(b"this is not an image")
    return folder


def _crop(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    scale = random.uniform(0.85, 0.97)
    width, height = int(picture.width * scale), int(picture.height * scale)
    left = int(random.integers(0, picture.width - width))
    top = int(random.integers(0, picture.height - height))
    return picture.crop((left, top, left + width, top + height))


def album_ids() -> list[str]:
    """Ids of all good photos of the album but those apart, bursts interleaved."""
    return [f"{name.partition('.')[0]}-{shot}" for shot in range(SHOTS) for name in BURSTS]


def make_service(
    root: Path,
    kafka: KafkaServer,
    redis_server: RedisServer,
    postgres: PostgresServer,
    album: Path,
    **settings: str,
) -> Iterator[Service]:
    """A prepared service with a database of its own; ended and dropped after use."""
    name = f"e2e_{uuid.uuid4().hex[:12]}"
    asyncio.run(_execute(postgres.url, f"CREATE DATABASE {name}"))
    url = postgres.url.rpartition("/")[0] + f"/{name}"
    service = Service(root, kafka.bootstrap_servers, redis_server.url, url, album, settings)
    try:
        service.prepare()
        yield service
    finally:
        service.close()
        asyncio.run(_execute(postgres.url, f"DROP DATABASE {name} WITH (FORCE)"))


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture(scope="package")
def service(
    tmp_path_factory: pytest.TempPathFactory,
    kafka: KafkaServer,
    redis_server: RedisServer,
    postgres: PostgresServer,
    album: Path,
) -> Iterator[Service]:
    """A service that runs for all tests of this folder; they use pets and jobs of their own.

    Not for the whole session: other folders' tests kill the broker.
    """
    on = {"SIMILARITY": "true", "SIMILARITY_TOKEN": SIMILARITY_TOKEN}
    for made in make_service(tmp_path_factory.mktemp("service"), kafka, redis_server, postgres, album, **on):
        made.start()
        yield made


@pytest.fixture
def stopped_service(
    tmp_path: Path, kafka: KafkaServer, redis_server: RedisServer, postgres: PostgresServer, album: Path
) -> Iterator[Service]:
    """A prepared service of which no role runs yet: for tests that kill."""
    yield from make_service(tmp_path / "service", kafka, redis_server, postgres, album)


@pytest.fixture
def pet(request: pytest.FixtureRequest) -> str:
    """A pet id of this test's own."""
    return f"pet-{uuid.uuid4().hex[:8]}"
