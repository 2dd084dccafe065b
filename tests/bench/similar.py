"""`python -m tests.bench similar`: what the search across pets finds of what an exact scan finds, and how fast; what it
costs to index a photo. Postgres alone, filled by the index's own statements from facts as the log has them.

    fill      facts → table, without an index on the vectors; then the index; then more photos into it
    search    the same questions before the index is built, which reads every vector, and behind it

Twice: with pets that are alike by degrees, as animals are, and with pets that have nothing in common but the model, so
that nothing is near. The second is the worst for a graph: all other pets' photos are about equally far away.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.progress import Progress

from app.local.postgres import PostgresServer
from projections.migrate import upgrade
from projections.pool import create_pool
from projections.similar.directions import renew_some
from projections.similar.graphs import build_missing
from projections.similar.models import Model, create_extension, find_model
from projections.similar.photos import write_facts
from projections.similar.search import CANDIDATES, MOST_CANDIDATES, Ask, SimilarReader
from schemas.pet_keys import NO_KEYS
from tests.bench.report import Cell, Quantiles, Report
from tests.bench.similar_albums import (
    BIG,
    MODEL,
    MORE,
    PETS,
    PHOTOS_A_SCENE,
    SCENES,
    Album,
    Photo,
    alike,
    facts_of,
    unlike,
)
from tests.e2e.service import REPOSITORY
from tests.scale.vectors import DIMENSION

QUESTIONS: Final = 200
NEAREST: Final = 10
KEPT: Final = (40, 100, 200, CANDIDATES)
RECORDS: Final = 50
POSTGRES: Final = {"shared_buffers": "1GB", "maintenance_work_mem": "1GB", "max_wal_size": "4GB"}
"""As one would set them for vectors of this number; an index that does not fit into memory is built far slower."""
ALBUMS: Final = """
INSERT INTO pet_clusters (
    id, pet_id, version, cluster_count, image_count, unclustered_count, model, max_cluster_size, log_partition,
    log_offset, updated_at
)
SELECT gen_random_uuid(), pet_id, 1, 1, count(*), 0, 'bench@1', 24, 0, max(log_offset), now() FROM {photos} GROUP BY 2;

INSERT INTO cluster_members (cluster_id, image_id, pet_id, cluster_number, score, distance, since_version)
SELECT gen_random_uuid(), image_id, pet_id, split_part(image_id, '-', 1)::int, 0.9, 0.1, 1 FROM {photos};

INSERT INTO cluster_summaries (pet_id, cluster_number, since_version, label, member_count, tightness)
SELECT pet_id, cluster_number, 1, 'Cluster', count(*), 0.9 FROM cluster_members GROUP BY 1, 2;

INSERT INTO similar_pets (pet_id, version) SELECT pet_id, 1 FROM pet_clusters;
INSERT INTO projection_positions VALUES ('similar', 'log', 0, 1000000000);
ANALYZE;
"""


def run(console: Console) -> list[Report]:
    """About six minutes on two cores, 1 GB of disk."""
    reports = []
    for name, draw in (("alike by degrees", alike), ("nothing in common", unlike)):
        with _server() as url, Progress(console=console, transient=True) as progress:
            reports += asyncio.run(_measure(url, progress, name, Album(draw)))
    return reports


@contextmanager
def _server() -> Iterator[str]:
    folder = REPOSITORY / ".local"
    folder.mkdir(exist_ok=True)
    root = Path(tempfile.mkdtemp(prefix="bench-", dir=folder))
    server = PostgresServer(root / "postgres", settings=POSTGRES)
    try:
        server.start()
        upgrade(server.url)
        yield server.url
    finally:
        server.stop()
        shutil.rmtree(root, ignore_errors=True)


async def _measure(url: str, progress: Progress, name: str, album: Album) -> list[Report]:
    await create_extension(url)
    photos, more = list(album.photos()), list(album.more())
    questions = _questions(photos)
    task = progress.add_task(f"{name}: index", total=len(photos) + MORE)
    async with create_pool(url, size=2, statement_timeout_ms=600_000, ssl_mode="disable") as pool:
        filled = await _write(pool, photos, 0, lambda done: progress.advance(task, done))
        directions, clusters = await _directions(pool)
        exact = await _ask(pool, questions, CANDIDATES)
        begun = time.monotonic()
        async with pool.acquire() as connection:
            await build_missing(connection)
        built = time.monotonic() - begun
        found = {kept: await _ask(pool, questions, kept) for kept in KEPT}
        added = await _write(pool, more, len(photos), lambda done: progress.advance(task, done))
        sizes = await _sizes(pool)
    return [
        _fill_report(name, len(photos), filled, built, len(more), added, clusters, directions, sizes),
        _search_report(name, len(photos), exact, found),
    ]


async def _write(pool: Any, photos: Sequence[Photo], offset: int, tell: Any) -> float:
    """Seconds of the index's own transactions, a fact of ten photos, fifty facts a transaction."""
    facts = list(facts_of(photos, offset))
    seconds = 0.0
    for start in range(0, len(facts), RECORDS):
        some = facts[start : start + RECORDS]
        begun = time.monotonic()
        async with pool.acquire() as connection, connection.transaction():
            tell(await write_facts(connection, some, NO_KEYS))
        seconds += time.monotonic() - begun
    return seconds


async def _directions(pool: Any) -> tuple[float, int]:
    """Seconds for the directions of all clusters, and how many there are."""
    async with pool.acquire() as connection:
        await connection.execute(ALBUMS.replace("{photos}", (await _model(connection)).photos))
    begun, clusters = time.monotonic(), 0
    while True:
        async with pool.acquire() as connection:
            pets, renewed = await renew_some(connection, "log")
        clusters += renewed
        if not pets:
            break
    async with pool.acquire() as connection:
        await connection.execute("ANALYZE")
    return time.monotonic() - begun, clusters


@dataclass(frozen=True)
class _Found:
    """Of the small pets' photos and of the big pet's: milliseconds, and the share of the exact answer."""

    small: Quantiles
    big: Quantiles
    recall_small: float
    recall_big: float


@dataclass(frozen=True)
class _Question:
    """A photo, and the least cosine of its ten nearest of other pets, by an exact count."""

    photo: Photo
    least: float


def _questions(photos: Sequence[Photo]) -> dict[str, list[_Question]]:
    pets = np.array([photo.pet_id for photo in photos])
    values = np.frombuffer(b"".join(photo.vector for photo in photos), dtype="<i2").reshape(len(photos), DIMENSION)
    units = values.astype(np.float32)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    random, found = np.random.default_rng(1), dict[str, list[_Question]]()
    for which, count in (("small", QUESTIONS), ("big", QUESTIONS // 4)):
        numbers = random.choice(np.flatnonzero((pets == "big") == (which == "big")), count, replace=False)
        cosines = units[numbers] @ units.T
        found[which] = []
        for number, row in zip(numbers, cosines, strict=True):
            others = np.where(pets == pets[number], -1.0, row)
            found[which].append(_Question(photos[number], float(np.partition(others, -NEAREST)[-NEAREST])))
    return found


async def _ask(pool: Any, questions: dict[str, list[_Question]], kept: int) -> _Found:
    reader, ask = SimilarReader(pool, kept), Ask(limit=NEAREST, kinds=frozenset({"photos"}))
    took: dict[str, list[float]] = {"small": [], "big": []}
    recall: dict[str, list[float]] = {"small": [], "big": []}
    for which, some in questions.items():
        for question in some:
            begun = time.perf_counter()
            found = (await reader.of_image(question.photo.pet_id, question.photo.image_id, ask)).photos or []
            took[which].append((time.perf_counter() - begun) * 1e3)
            recall[which].append(sum(each.cosine >= question.least - 1e-5 for each in found) / NEAREST)
    small, big = (Quantiles.of(took[which]) for which in ("small", "big"))
    return _Found(small, big, float(np.mean(recall["small"])), float(np.mean(recall["big"])))


async def _sizes(pool: Any) -> tuple[float, float]:
    """Megabytes of the table of photos and of its index."""
    async with pool.acquire() as connection:
        table = (await _model(connection)).photos
        statement = "SELECT pg_table_size($1::text::regclass), pg_relation_size(($1 || '_nearest')::regclass)"
        row = await connection.fetchrow(statement, table)
    return row[0] / 1e6, row[1] / 1e6


async def _model(connection: Any) -> Model:
    model = await find_model(connection, MODEL)
    assert model is not None
    return model


def _fill_report(
    name: str,
    photos: int,
    filled: float,
    built: float,
    more: int,
    added: float,
    clusters: int,
    directions: float,
    sizes: tuple[float, float],
) -> Report:
    rows: tuple[tuple[Cell, ...], ...] = (
        ("photos into the table, no index yet", photos, filled, filled / photos * 1e3),
        ("directions of their clusters", clusters, directions, directions / clusters * 1e3),
        ("the index, of all photos at once", photos, built, built / photos * 1e3),
        ("photos into table and index", more, added, added / more * 1e3),
    )
    return Report(
        f"similar, {name}: {photos:,} photos of {PETS + 1} pets, {DIMENSION} values",
        ("", "number", "seconds", "ms each"),
        rows,
        (f"table {sizes[0]:,.0f} MB, index {sizes[1]:,.0f} MB; fsync on, maintenance_work_mem 1 GB",),
    )


def _search_report(name: str, photos: int, exact: _Found, found: dict[int, _Found]) -> Report:
    named = {
        "every vector read (no index)": exact,
        **{f"index, {kept} + own candidates": each for kept, each in found.items()},
    }
    rows = tuple(
        (how, each.recall_small, each.small.p50, each.small.p99, each.recall_big, each.big.p50, each.big.p99)
        for how, each in named.items()
    )
    return Report(
        f"similar, {name}: the {NEAREST} nearest photos of other pets, of {photos:,}",
        ("", "recall@10", "p50 ms", "p99 ms", "big pet: recall@10", "big pet: p50 ms", "big pet: p99 ms"),
        rows,
        (
            f"{QUESTIONS} photos of pets with {SCENES * PHOTOS_A_SCENE}, and {QUESTIONS // 4} of one with {BIG:,}, one"
            " question after the other, membership and model looked up in the same transaction",
            f"candidates: ef_search; as many more as the pet has photos, at most {MOST_CANDIDATES} in all; the service"
            f" takes {CANDIDATES}",
        ),
        digits=3,
    )
