"""Near-duplicates: the same picture, encoded, resized or cropped anew, by its perceptual hash. Pure; used by the fold.

Each component remembers the looks that it has seen lately, one for each group of near-duplicates; the group is named
after its first image. Pictures that are near-duplicates have almost the same vector, and hence the same component, so
that nothing has to be compared with the whole album.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tables.pet import Look

NEAR_BITS: Final = 10
"""Hashes of 64 bits that differ in no more are near-duplicates'; docs/evaluation.md has what that finds and misses."""
NO_HASH: Final = 0
LOOKS: Final = 16
"""Groups that a component remembers."""


def is_near(one: int, other: int) -> bool:
    """Whether two perceptual hashes, 64 bits each, are of near-duplicates. `NO_HASH` is near to nothing."""
    return NO_HASH not in (one, other) and (one ^ other).bit_count() <= NEAR_BITS


def recognise(looks: Sequence[Look], image_id: str, phash: int) -> tuple[list[Look], str]:
    """The looks with the image's, the latest last; and the image whose near-duplicate it is, empty for none."""
    if phash == NO_HASH:
        return list(looks), ""
    alike = [look for look in looks if is_near(look.phash, phash)]
    found = min(alike, key=lambda look: _distance(look, phash)) if alike else None
    if found is None:
        return [*looks, Look(phash, image_id)][-LOOKS:], ""
    rest = [look for look in looks if look is not found]
    return [*rest, found], "" if found.image_id == image_id else found.image_id


def _distance(look: Look, phash: int) -> tuple[int, str]:
    return (look.phash ^ phash).bit_count(), look.image_id
