"""What embed remembers of each image, so that an image is fetched once per model: pet/image → model and content hash.

A convenience, not a promise: it is written only after the log has the vectors, and the fold never relies on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from schemas.facts import EmbeddedImage


class KnownImage(msgspec.Struct, frozen=True, array_like=True):
    """`sha256`: of the file's bytes, as logged with the vector."""

    model: str
    sha256: bytes


_decoder = msgspec.msgpack.Decoder(KnownImage)


def key_of(pet_id: str, image_id: str) -> bytes:
    """Key of an image in the table."""
    return f"{pet_id}/{image_id}".encode()


def prefix_of(pet_id: str) -> bytes:
    """What the keys of a pet's images begin with."""
    return f"{pet_id}/".encode()


def known_among(
    get: Callable[[bytes], bytes | None], pet_id: str, image_ids: Iterable[str], model: str
) -> tuple[str, ...]:
    """Those of `image_ids` that are in the log under `model` already, in their order."""
    found = ((image_id, get(key_of(pet_id, image_id))) for image_id in image_ids)
    return tuple(image_id for image_id, raw in found if raw is not None and _decoder.decode(raw).model == model)


def records(pet_id: str, images: Iterable[EmbeddedImage], model: str) -> list[tuple[bytes, bytes | None]]:
    """The records that remember `images`."""
    return [
        (key_of(pet_id, image.image_id), msgspec.msgpack.encode(KnownImage(model, image.sha256))) for image in images
    ]
