"""The folder of an export: a local one, or any that fsspec knows. Used by export, check and import.

A URL may hold credentials, so errors name only what lies below it, and fsspec's errors by their type.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import fsspec

from app.backup.manifest import NAME, Manifest, decode_manifest, encode_manifest
from schemas.errors import InvalidInput, StopProcess

PARTIAL: Final = ".partial"


class Folder:
    """Blocking: its files are read and written whole. Every method raises StopProcess when the place refuses.

    `url`: a path or an fsspec URL, e.g. ``s3://bucket/backup``. A file appears whole or not at all: locally by a
    rename, elsewhere because one PUT does so.
    """

    def __init__(self, url: str) -> None:
        with _told("the folder"):
            self._files, self._root = fsspec.core.url_to_fs(url)
        self._local = "file" in _protocols(self._files)

    def manifest(self) -> Manifest | None:
        """What the export says that it holds; None before the first one has ended. Raises InvalidInput as
        `decode_manifest`.
        """
        data = self.read(NAME)
        return None if data is None else decode_manifest(data)

    def needed_manifest(self) -> Manifest:
        """The manifest. Raises StopProcess where there is none, or none that holds."""
        try:
            manifest = self.manifest()
        except InvalidInput as error:
            raise StopProcess(str(error)) from error
        if manifest is None:
            raise StopProcess(f"there is no {NAME}: no export has ended there")
        return manifest

    def write_manifest(self, manifest: Manifest) -> None:
        """Replace it, in one step."""
        self.write(NAME, encode_manifest(manifest))

    def read(self, path: str) -> bytes | None:
        """A file's bytes; None when it is not there."""
        with _told(path):
            try:
                return bytes(self._files.cat_file(f"{self._root}/{path}"))
            except FileNotFoundError:
                return None

    def write(self, path: str, data: bytes) -> None:
        """Write a file, in one step."""
        with _told(path):
            if self._local:
                _write_durably(Path(self._root) / path, data)
            else:
                self._files.pipe_file(f"{self._root}/{path}", data)

    def names(self, path: str) -> list[str]:
        """The names of the files in a folder, sorted; none when it is not there."""
        with _told(path):
            try:
                self._files.invalidate_cache()
                found = self._files.ls(f"{self._root}/{path}", detail=False)
            except FileNotFoundError:
                return []
        return sorted(name for name in (each.rpartition("/")[2] for each in found) if not name.endswith(PARTIAL))

    def remove(self, path: str) -> None:
        """Remove a file; nothing happens when it is not there."""
        with _told(path):
            try:
                self._files.rm_file(f"{self._root}/{path}")
            except FileNotFoundError:
                return


def _protocols(files: Any) -> tuple[str, ...]:
    return (files.protocol,) if isinstance(files.protocol, str) else tuple(files.protocol)


def _write_durably(target: Path, data: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.{os.getpid()}{PARTIAL}")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the rename itself
    finally:
        os.close(folder)


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise StopProcess(f"{what}: {error}") from error
    except OSError as error:
        raise StopProcess(f"{what}: {error.strerror or type(error).__name__}") from error
    except Exception as error:  # every file system has errors of its own
        raise StopProcess(f"{what}: {type(error).__name__}") from error
