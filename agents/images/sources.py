"""Where the bytes of an image come from. `app` opens one source; `ImagePipeline` fetches from it.

Implemented by `storage_service.StorageServiceSource` and `fsspec_source.FsspecSource`; one contract suite holds both.
"""

from __future__ import annotations

from typing import Protocol

from agents.images.errors import ImageError
from schemas.errors import InvalidInput
from schemas.ids import check_id


class ImageSource(Protocol):
    """Gets images by id, safe for many tasks of one event loop."""

    @property
    def max_bytes(self) -> int:
        """The most bytes that one `fetch` ever holds."""
        ...

    async def fetch(self, image_id: str) -> bytes:
        """The file's bytes.

        Raises ImageError (not_found, too_large, refused) when asking again is of no use, RetryLater when the source
        is down, too slow, or does not let us in.
        """
        ...

    async def list_images(self, pet_id: str) -> tuple[str, ...] | None:
        """Ids of the pet's images, for a job that names none; None when the source keeps no such list."""
        ...


def check_image_id(image_id: str) -> str:
    """The id, when it can be one segment of a path or URL. Raises ImageError otherwise.

    ``.`` and ``..`` are valid ids elsewhere, but here they would name a folder.
    """
    try:
        check_id(image_id, "image_id")
    except InvalidInput as error:
        raise ImageError("refused", str(error)) from error
    if image_id in (".", ".."):
        raise ImageError("not_found", f"{image_id!r} names a folder, not an image")
    return image_id


def too_large(max_bytes: int) -> ImageError:
    """The error of every source for a file over its limit."""
    return ImageError("too_large", f"the file has more than {max_bytes} bytes")
