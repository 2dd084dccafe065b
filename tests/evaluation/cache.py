"""The evaluation's albums with their vectors, kept in `.local/evaluation` so that only the first run embeds them.

    from tests.evaluation.cache import load
    for album in load(): album.vectors, album.labels, album.level, album.part

The file's name has a digest of the seed and of all code and data that a vector depends on: a change of any makes
another file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from agents.embedder.default_model import WEIGHTS_SHA256
from schemas.facts import EmbeddedImage, Quality
from tables.vectors import SCALE
from tests.evaluation.albums import SEED, Album, plan
from tests.evaluation.embedding import embed
from tests.evaluation.photographs import CHOSEN, HERE, LOCK, Photograph, photographs

ROOT: Final = HERE.parents[1]
FOLDER: Final = ROOT / ".local" / "evaluation"
_CODE: Final = ("albums.py", "shots.py", "degraded.py", "photographs.py", "embedding.py")
_EMBED_CODE: Final = ("agents/images/*.py", "agents/embedder/*.py", "tables/vectors.py")


@dataclass(frozen=True, eq=False)
class LabelledAlbum:
    """An album in the order of arrival.

    `vectors`: int16[n, d], 4096 times the unit vectors. `labels`: int[n], the true group; a singleton's is its own.
    `pixels`: int[n], equal for pictures that are the same pixels encoded anew. `best`: bool[n], the undegraded one of a
    hero group. `images`: what the embed role recorded.
    """

    name: str
    part: str
    level: str
    kind: str
    vectors: NDArray[np.int16]
    labels: NDArray[np.int32]
    pixels: NDArray[np.int32]
    best: NDArray[np.bool_]
    images: tuple[EmbeddedImage, ...]

    @cached_property
    def units(self) -> NDArray[np.float64]:
        """The vectors as floats of length 1, as near as their integers are."""
        values = self.vectors / SCALE
        unit: NDArray[np.float64] = values / np.linalg.norm(values, axis=1, keepdims=True)
        return unit


def load(console: Console | None = None, folder: Path = FOLDER) -> list[LabelledAlbum]:
    """All albums; the first time photographs are downloaded and pictures embedded (minutes).

    Raises Undownloadable when the photographs cannot be had.
    """
    path = folder / f"vectors-{_digest()}.npz"
    if not path.is_file():
        sources = photographs(folder / "packages")
        albums = plan(sources)
        write(path, albums, _embedded(albums, sources, folder, console or Console()))
    return read(path)


def write(path: Path, albums: Sequence[Album], images: Sequence[Sequence[EmbeddedImage]]) -> None:
    """Save albums and what was recorded of their pictures; the file appears when it is complete."""
    shots = [shot for album in albums for shot in album.shots]
    flat = [image for album in images for image in album]
    draft = path.with_suffix(".tmp.npz")
    np.savez(
        draft,
        names=np.array([(a.name, a.part, a.level, a.kind) for a in albums]),
        counts=np.array([len(a.shots) for a in albums], np.int32),
        labels=np.array([s.label for s in shots], np.int32),
        pixels=np.array([s.seed[-1] for s in shots], np.int32),
        best=np.array([s.best for s in shots], np.bool_),
        vectors=np.stack([np.frombuffer(i.vector, "<i2") for i in flat]),
        quality=np.array([msgspec.structs.astuple(image.quality) for image in flat]),
        phash=np.array([i.phash for i in flat], np.uint64),
        sizes=np.array([(i.width, i.height, i.size_bytes) for i in flat], np.int64),
        sha256=np.stack([np.frombuffer(i.sha256, np.uint8) for i in flat]),
        ids=np.array([i.image_id for i in flat]),
    )
    draft.replace(path)


def read(path: Path) -> list[LabelledAlbum]:
    """Inverse of `write`."""
    with np.load(path) as file:
        columns = {name: file[name] for name in file.files}
    ends = np.cumsum(columns["counts"])
    return [
        _album([str(word) for word in columns["names"][number]], slice(int(end - count), int(end)), columns)
        for number, (end, count) in enumerate(zip(ends, columns["counts"], strict=True))
    ]


def _album(names: Sequence[str], rows: slice, columns: dict[str, NDArray[Any]]) -> LabelledAlbum:
    name, part, level, kind = names
    return LabelledAlbum(
        name,
        part,
        level,
        kind,
        columns["vectors"][rows],
        columns["labels"][rows],
        columns["pixels"][rows],
        columns["best"][rows],
        tuple(_image(row, columns) for row in range(rows.start, rows.stop)),
    )


def _image(row: int, columns: dict[str, NDArray[Any]]) -> EmbeddedImage:
    width, height, size = (int(n) for n in columns["sizes"][row])
    return EmbeddedImage(
        str(columns["ids"][row]),
        columns["vectors"][row].tobytes(),
        Quality(*(float(q) for q in columns["quality"][row])),
        int(columns["phash"][row]),
        width,
        height,
        "",
        columns["sha256"][row].tobytes(),
        size,
    )


def _embedded(
    albums: Sequence[Album], sources: Sequence[Photograph], folder: Path, console: Console
) -> list[list[EmbeddedImage]]:
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("pictures made and embedded", total=sum(len(album.shots) for album in albums))
        return embed(albums, sources, folder / "models", lambda: progress.advance(task))


def _digest() -> str:
    """Of everything that a vector depends on."""
    digest = hashlib.sha256(f"{SEED} {WEIGHTS_SHA256}".encode())
    files = [CHOSEN, LOCK, *(HERE / name for name in _CODE)]
    files += sorted(path for pattern in _EMBED_CODE for path in ROOT.glob(pattern))
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
