"""Images from any place that fsspec knows: a folder, S3, GCS, … Opened by `app` when IMAGE_SOURCE is set."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from string import Formatter
from typing import Any, Final

import fsspec
import structlog

from agents.images.errors import ImageError
from agents.images.sources import check_image_id, too_large
from schemas.errors import RetryLater, StopProcess

log = structlog.get_logger(__name__)

FIELD: Final = "image_id"


class FsspecSource:
    """An `ImageSource` by template, e.g. ``s3://bucket/{image_id}`` or ``file:///photos/{image_id}.jpg``.

    The template may hold credentials and reasons are published, so no error or log line holds a URL or the file
    system's own words.

    `executor`: its threads do the blocking reads. `timeout`: seconds for one image. `options`: passed to the file
    system.
    Raises StopProcess when the template is malformed or its file system cannot be opened.
    """

    def __init__(
        self,
        template: str,
        *,
        max_bytes: int,
        timeout: float,
        executor: Executor,
        options: dict[str, Any] | None = None,
    ) -> None:
        check_template(template)
        try:
            self._files, _ = fsspec.core.url_to_fs(template.replace(f"{{{FIELD}}}", "x"), **(options or {}))
        except ImportError as error:
            raise StopProcess(f"IMAGE_SOURCE: {error}") from error
        except (ValueError, OSError) as error:
            scheme = template.partition("://")[0]
            raise StopProcess(f"IMAGE_SOURCE: {scheme}:// cannot be opened: {type(error).__name__}") from error
        self.max_bytes = max_bytes
        self._template = template
        self._timeout = timeout
        self._executor = executor

    async def fetch(self, image_id: str) -> bytes:
        """See `ImageSource.fetch`."""
        check_image_id(image_id)
        try:
            async with asyncio.timeout(self._timeout):
                return await asyncio.get_running_loop().run_in_executor(self._executor, self._read, image_id)
        except TimeoutError as error:
            raise RetryLater(f"image {image_id} does not come in time") from error

    async def list_images(self, pet_id: str) -> tuple[str, ...] | None:
        """None: files carry no pets."""
        return None

    def _read(self, image_id: str) -> bytes:
        url = self._template.replace(f"{{{FIELD}}}", image_id)
        try:
            with self._files.open(self._files._strip_protocol(url), "rb") as stream:
                body = bytes(stream.read(self.max_bytes + 1))
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise ImageError("not_found", f"there is no file of image {image_id}") from error
        except Exception as error:  # every file system has errors of its own; most pass, and the tries are counted
            log.warning("image_source_failed", image_id=image_id, error=type(error).__name__)
            raise RetryLater(f"image {image_id} cannot be read: {type(error).__name__}") from error
        if len(body) > self.max_bytes:
            raise too_large(self.max_bytes)
        return body


def check_template(template: str) -> None:
    """Raise StopProcess unless the template is a URL with ``{image_id}`` once and no other field."""
    try:
        fields = [name for _, name, _, _ in Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise StopProcess(f"IMAGE_SOURCE: {error}") from error
    if fields != [FIELD]:
        raise StopProcess(f"IMAGE_SOURCE: must hold {{{FIELD}}} exactly once and no other field")
    if "://" not in template.partition("{")[0]:
        raise StopProcess("IMAGE_SOURCE: must begin with a scheme like file:// or s3://")
