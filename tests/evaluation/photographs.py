"""Real photographs that packages ship, downloaded when they are first needed. Used by cache.py.

None is in this repository: the packages' licences say little about the rights in their pictures.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image

from tests.photos import package_folder

HERE: Final = Path(__file__).parent
LOCK: Final = HERE / "photographs.lock"
CHOSEN: Final = HERE / "photographs.toml"
LONG_SIDE: Final = 640
_INNER: Final = "!"
# The archives of one Python on one system, whatever runs here: only their pictures are read.
_ONE_PLATFORM: Final = (
    *("--only-binary", ":all:", "--no-binary", "django-theme-material-kit", "--python-version", "3.11"),
    *("--implementation", "cp", "--abi", "cp311", "--abi", "none", "--platform", "manylinux_2_24_x86_64"),
    *("--platform", "any"),
)


class Undownloadable(Exception):
    """The archives could not be downloaded."""


@dataclass(frozen=True, eq=False)
class Photograph:
    """A source photograph. `image`: RGB, the longer side `LONG_SIDE`. `native`: its longer side as shipped, pixels."""

    name: str
    category: str
    image: Image.Image
    native: int


def chosen() -> dict[str, dict[str, str]]:
    """Archive or package → path inside it → category."""
    with CHOSEN.open("rb") as file:
        return tomllib.load(file)


def photographs(folder: Path) -> list[Photograph]:
    """All chosen photographs in the order of the list; archives that `folder` lacks are downloaded into it (30 MB).

    Raises Undownloadable when pip cannot get them or a hash differs.
    """
    found = chosen()
    if any(_is_archive(place) and not (folder / place).is_file() for place in found):
        _download(folder)
    return [
        photograph(inside, category, _bytes(folder, place, inside))
        for place, files in found.items()
        for inside, category in files.items()
    ]


def photograph(name: str, category: str, data: bytes) -> Photograph:
    """A photograph from its file."""
    with Image.open(io.BytesIO(data)) as opened:
        image = opened.convert("RGB")
    native = max(image.size)
    size = (round(image.width * LONG_SIDE / native), round(image.height * LONG_SIDE / native))
    return Photograph(name, category, image.resize(size, Image.Resampling.BICUBIC), native)


def _is_archive(place: str) -> bool:
    return place.endswith((".whl", ".tar.gz"))


def _download(folder: Path) -> None:
    """Let pip fetch the locked archives. It runs the build file of the one that is no wheel, as an install would."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", *_ONE_PLATFORM]
    done = subprocess.run([*command, "--dest", folder, "--requirement", LOCK], capture_output=True, text=True)
    if done.returncode:
        raise Undownloadable(f"pip could not download {LOCK.name}: {done.stderr.strip()}")


def _bytes(folder: Path, place: str, inside: str) -> bytes:
    """The file at a path of an archive, or of an installed package."""
    if not _is_archive(place):
        return (package_folder(place) / inside).read_bytes()
    outer, _, inner = inside.partition(_INNER)
    data = _member((folder / place).read_bytes(), outer)
    return _member(data, inner) if inner else data


def _member(archive: bytes, name: str) -> bytes:
    stream = io.BytesIO(archive)
    if zipfile.is_zipfile(stream):
        with zipfile.ZipFile(stream) as wheel:
            return wheel.read(name)
    stream.seek(0)
    with tarfile.open(fileobj=stream) as sources:
        file = sources.extractfile(name)
        if file is None:
            raise FileNotFoundError(name)
        return file.read()
