"""Brings Kafka's jars into the user's cache, each checked against kafka.lock.toml. Called by kafka.py at each start."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import stamina
import structlog

log = structlog.get_logger(__name__)

LOCK_FILE: Final = Path(__file__).with_name("kafka.lock.toml")
_DOWNLOADS: Final = 6
_TRIES: Final = 3
_COORDINATE: Final = re.compile(r"[\w.-]+:[\w.-]+:[\w.-]+")


class ChecksumError(RuntimeError):
    """A jar is not the one that the lock file names."""


class DownloadError(RuntimeError):
    """A jar could not be fetched."""


@dataclass(frozen=True)
class JarLock:
    """The pinned jars: Maven coordinates `group:artifact:version` → SHA-256 in hex."""

    version: str
    jars: Mapping[str, str]

    @classmethod
    def read(cls, path: Path = LOCK_FILE) -> JarLock:
        """Parse a lock file.

        Raises:
            ValueError: a coordinate or a checksum is malformed; the message names it.

        """
        content = tomllib.loads(path.read_text())
        for coordinate, sha256 in content["jars"].items():
            if not _COORDINATE.fullmatch(coordinate) or not re.fullmatch(r"[0-9a-f]{64}", sha256):
                raise ValueError(f"{path}: jars: {coordinate!r} = {sha256!r} is no coordinate with a SHA-256")
        return cls(content["version"], content["jars"])


def user_cache() -> Path:
    """The project's folder in the user's cache: `$XDG_CACHE_HOME` or `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(base) if os.path.isabs(base) else Path.home() / ".cache"  # the XDG rule: a relative value is ignored
    return root / "sploot-media-clustering"


def fetch(lock: JarLock, cache: Path | None = None) -> list[Path]:
    """The jars of `lock`, from `cache` (default: the user's), where missing ones are downloaded first.

    Raises:
        ChecksumError: a cached or downloaded jar has another SHA-256 than the lock says. Nothing is kept of a download.
        DownloadError: a missing jar could not be fetched.

    """
    folder = (cache or user_cache()) / f"kafka-{lock.version}"
    folder.mkdir(parents=True, exist_ok=True)
    with _only_one(folder / ".lock"):
        missing = {c: sha256 for c, sha256 in lock.jars.items() if not (folder / jar_name(c)).exists()}
        for coordinate in lock.jars.keys() - missing.keys():
            _check(folder / jar_name(coordinate), coordinate, lock.jars[coordinate])
        if missing:
            log.info("kafka_jars_download", missing=len(missing), total=len(lock.jars), cache=str(folder))
            with ThreadPoolExecutor(_DOWNLOADS) as pool:
                list(pool.map(lambda item: _download(item[0], item[1], folder), missing.items()))
    return [folder / jar_name(coordinate) for coordinate in lock.jars]


def jar_name(coordinate: str) -> str:
    """`group:artifact:version` → `artifact-version.jar`."""
    _, artifact, version = coordinate.split(":")
    return f"{artifact}-{version}.jar"


def _download(coordinate: str, sha256: str, folder: Path) -> None:
    """Download into a folder of its own, check, then move: an interrupted download leaves nothing that looks whole."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".partial-") as partial:
        jar = _resolve(coordinate, Path(partial))
        _check(jar, coordinate, sha256)
        jar.replace(folder / jar_name(coordinate))


def _resolve(coordinate: str, repository: Path) -> Path:
    """Fetch one jar into `repository`, a Maven folder of its own for each try."""
    import jgo.maven
    import requests

    group, artifact, version = coordinate.split(":")
    failures = (requests.RequestException, RuntimeError)  # jgo answers a missing artifact with a bare RuntimeError
    try:
        for attempt in stamina.retry_context(on=failures, attempts=_TRIES):
            with attempt:
                context = jgo.maven.MavenContext(repo_cache=repository / str(attempt.num), timeout=60)
                return Path(context.project(group, artifact).at_version(version).artifact().resolve())
    except failures as error:
        raise DownloadError(f"{coordinate}: cannot be downloaded: {error}") from error
    raise AssertionError("unreachable: the last failed attempt raises")


def _check(jar: Path, coordinate: str, sha256: str) -> None:
    with jar.open("rb") as content:
        actual = hashlib.file_digest(content, "sha256").hexdigest()
    if actual != sha256:
        raise ChecksumError(f"{coordinate}: {jar} has SHA-256 {actual}, the lock file says {sha256}")


@contextlib.contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """Holds a file lock, so that two processes do not download the same jars."""
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
