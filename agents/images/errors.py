"""Why an image will never be embedded. Raised by sources, decoder, pipeline; recorded as a `FailedImage`."""

from __future__ import annotations

from typing import Literal

from schemas.errors import DeadLetter

Kind = Literal[
    "not_found",
    "refused",
    "too_large",
    "too_many_pixels",
    "not_an_image",
    "unsupported_type",
    "truncated",
    "bad_vector",
]


class ImageError(DeadLetter):
    """One image fails alone and for good; `kind` is a stable word for callers, `reason` a sentence for people."""

    def __init__(self, kind: Kind, reason: str) -> None:
        super().__init__(f"{kind}: {reason}")
        self.kind: Kind = kind
        self.reason = reason
