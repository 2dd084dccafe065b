"""Near-duplicates are near, unrelated photos are far."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from agents.images.decode import decode
from agents.images.phash import phash
from tests.photos import SKIMAGE, SKLEARN, encoded, photo

NEAR_DUPLICATE_BITS = 10


def hamming(one: int, other: int) -> int:
    """Number of bits in which two hashes differ, 0 … 64."""
    return (one ^ other).bit_count()


def hash_of(image: Image.Image, kind: str = "PNG", **options: int) -> int:
    return phash(decode(encoded(image, kind, **options), size=224, max_pixels=10**8).gray)


@pytest.mark.parametrize("name", SKIMAGE + SKLEARN)
def test_a_copy_saved_again_or_resized_stays_within_the_bound(name: str) -> None:
    original = photo(name)
    smaller = original.resize((original.width * 2 // 3, original.height * 2 // 3))
    assert hamming(hash_of(original), hash_of(original, "JPEG", quality=40)) <= NEAR_DUPLICATE_BITS
    assert hamming(hash_of(original), hash_of(smaller)) <= NEAR_DUPLICATE_BITS


def test_unrelated_photos_are_far_apart() -> None:
    hashes = [hash_of(photo(name)) for name in SKIMAGE + SKLEARN]
    assert min(hamming(one, other) for one, other in combinations(hashes, 2)) > NEAR_DUPLICATE_BITS


def test_the_hash_has_64_bits_and_is_the_same_every_time() -> None:
    gray = np.asarray(photo("camera.png").convert("L"))
    assert phash(gray) == phash(gray.copy())
    assert 0 <= phash(gray) < 2**64
    # Half of the frequencies lie above their median.
    assert phash(gray).bit_count() == 32


def test_a_flat_picture_does_not_hash_to_rounding_errors() -> None:
    flat = [phash(np.full((h, w), value, np.uint8)) for h, w, value in ((512, 341, 90), (512, 512, 91), (7, 9, 200))]
    assert len(set(flat)) == 1
