"""Opens the image source that the settings name. Used by the role `embed` and by `app.whatif`."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

from agents.images.fsspec_source import FsspecSource
from agents.images.sources import ImageSource
from agents.images.storage_service import StorageServiceSource, client_session
from app.settings import Settings


@contextlib.asynccontextmanager
async def open_image_source(settings: Settings) -> AsyncIterator[ImageSource]:
    """IMAGE_SOURCE when it is set, else the storage service. Raises StopProcess when it cannot be opened."""
    if settings.image_source is not None:
        with ThreadPoolExecutor(settings.image_concurrency, thread_name_prefix="fetch") as threads:
            yield FsspecSource(
                settings.image_source,
                max_bytes=settings.image_max_bytes,
                timeout=settings.image_timeout_seconds,
                executor=threads,
            )
        return
    async with client_session(
        connections=settings.image_concurrency, timeout=settings.image_timeout_seconds
    ) as session:
        yield StorageServiceSource(
            settings.storage_service_url,
            settings.storage_service_token.get_secret_value(),
            max_bytes=settings.image_max_bytes,
            session=session,
        )
