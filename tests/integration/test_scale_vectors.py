"""The vectors of large made-up logs lie as the default model's do for real photos."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from agents.embedder.default_model import default_model
from agents.embedder.session import OnnxSession
from agents.images.decode import decode
from app.local.photos import bundled_albums
from tests.scale.vectors import DIMENSION, photo_vectors

Matrix = NDArray[np.float32]
NEAR = 0.04
"""How far a median cosine may be from the real one."""


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Matrix]:
    """Photograph → vectors of the shots of its bursts."""
    folder = tmp_path_factory.mktemp("bursts")
    session = OnnxSession(default_model(folder), device="cpu", threads=2)
    photos = [
        photo for seed in (1, 2) for album in bundled_albums(folder / str(seed), seed=seed) for photo in album.photos
    ]
    bursts: dict[str, list[Matrix]] = {}
    for photo in photos:
        if photo.burst is not None:
            pixels = decode(photo.path.read_bytes(), size=224, max_pixels=10**8).pixels
            bursts.setdefault(photo.burst, []).append(session.embed(pixels[None])[0])
    return {burst: np.stack(vectors) for burst, vectors in bursts.items()}


@pytest.fixture(scope="module")
def made_up() -> dict[str, Matrix]:
    """The same of ten pets with one scene each."""
    return {f"{pet}": photo_vectors(pet, 0, [0] * 10) for pet in range(10)}


def within(bursts: dict[str, Matrix]) -> float:
    """Median cosine of two shots of one photograph."""
    return float(np.median([(m @ m.T)[np.triu_indices(len(m), 1)].mean() for m in bursts.values()]))


def between(bursts: dict[str, Matrix]) -> float:
    """Median cosine of shots of two photographs."""
    matrices = list(bursts.values())
    return float(np.median([(a @ b.T).mean() for n, a in enumerate(matrices) for b in matrices[:n]]))


def test_shots_of_a_scene_and_unlike_photos_are_as_far_apart_as_real_ones(
    real: dict[str, Matrix], made_up: dict[str, Matrix]
) -> None:
    assert within(made_up) == pytest.approx(within(real), abs=NEAR)
    assert between(made_up) == pytest.approx(between(real), abs=NEAR)


def test_half_of_the_features_are_nothing_as_in_real_ones(real: dict[str, Matrix], made_up: dict[str, Matrix]) -> None:
    zeros = [float(np.mean([(matrix == 0).mean() for matrix in bursts.values()])) for bursts in (real, made_up)]
    assert zeros[1] == pytest.approx(zeros[0], abs=0.1)
    assert all((matrix >= 0).all() for matrix in (*real.values(), *made_up.values()))


def test_scenes_of_a_pet_are_more_alike_than_those_of_two_pets() -> None:
    scenes = photo_vectors(1, 0, list(range(8)))
    of_one = (scenes @ scenes.T)[np.triu_indices(8, 1)]
    of_two = photo_vectors(2, 0, list(range(8))) @ scenes.T
    assert of_one.min() > np.median(of_two)
    assert of_one.max() < 0.6, "else they were one scene"


def test_the_same_numbers_give_the_same_unit_vectors() -> None:
    first, again = photo_vectors(3, 4, [0, 1]), photo_vectors(3, 4, [0, 1])
    assert first.shape == (2, DIMENSION)
    assert np.array_equal(first, again)
    assert np.allclose(np.linalg.norm(first, axis=1), 1)
