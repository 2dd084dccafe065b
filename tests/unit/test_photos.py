"""The demo's albums: real photographs as bursts, and folders of a user's own."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import adjusted_rand_score

from agents.embedder.default_model import default_model
from agents.embedder.session import OnnxSession
from agents.images.decode import decode
from app.local.photos import Album, albums_from_folder, bundled_albums
from schemas.facts import Policy
from schemas.ids import ID_PATTERN


@pytest.fixture(scope="module")
def albums(tmp_path_factory: pytest.TempPathFactory) -> list[Album]:
    return bundled_albums(tmp_path_factory.mktemp("photos"))


def test_four_pets_with_a_dozen_photos_each(albums: list[Album]) -> None:
    assert len(albums) >= 4
    for album in albums:
        bursts = Counter(photo.burst for photo in album.photos)
        singletons = bursts.pop(None)
        assert len(album.photos) >= 12
        assert 2 <= len(bursts) <= 4
        assert all(3 <= count <= 6 for count in bursts.values())
        assert 1 <= singletons <= 3


def test_no_photograph_is_shown_for_two_pets(albums: list[Album]) -> None:
    bursts = [burst for album in albums for burst in {photo.burst for photo in album.photos} - {None}]
    assert len(set(bursts)) == len(bursts)


def test_order_is_shuffled(albums: list[Album]) -> None:
    for album in albums:
        bursts = [photo.burst for photo in album.photos]
        changes = sum(one != other for one, other in pairwise(bursts))
        assert changes > len(set(bursts)) + 1


def test_files_are_different_jpegs_with_their_time(albums: list[Album]) -> None:
    times, contents = set(), set()
    for photo in (photo for album in albums for photo in album.photos):
        with Image.open(photo.path) as image:
            assert image.format == "JPEG"
        taken_at = decode(photo.path.read_bytes(), size=64, max_pixels=10_000_000).taken_at
        assert taken_at.startswith("2026-")
        times.add((photo.image_id.partition("-")[0], taken_at))
        contents.add(photo.path.read_bytes())
    assert len(times) == len(contents) == sum(len(album.photos) for album in albums)


def test_same_seed_gives_the_same_bytes_and_another_seed_others(albums: list[Album], tmp_path: Path) -> None:
    def contents(albums: list[Album]) -> list[tuple[str, str | None, bytes]]:
        return [(p.image_id, p.burst, p.path.read_bytes()) for album in albums for p in album.photos]

    assert contents(bundled_albums(tmp_path / "again")) == contents(albums)
    assert contents(bundled_albums(tmp_path / "other", seed=2)) != contents(albums)


def test_bursts_are_recoverable_with_the_default_model(albums: list[Album], tmp_path: Path) -> None:
    """Mean cosine to the burst's other shots is above the joining threshold, and below it to everything else."""
    policy = Policy()
    session = OnnxSession(default_model(tmp_path))
    scores = []
    for album in albums:
        pixels = [
            decode(p.path.read_bytes(), size=session.input_size, max_pixels=10_000_000).pixels for p in album.photos
        ]
        vectors = session.embed(np.stack(pixels))
        cosines = vectors @ vectors.T
        truth = np.array([photo.burst or photo.image_id for photo in album.photos])
        same = truth[:, None] == truth[None, :]
        assert cosines[same].min() > policy.merge
        assert cosines[~same].max() < policy.join
        found = [int(np.flatnonzero(row >= policy.join)[0]) for row in cosines]
        scores.append(adjusted_rand_score(truth, found))
    assert np.mean(scores) >= 0.9


def test_users_folder_becomes_albums_with_valid_ids(tmp_path: Path) -> None:
    source = tmp_path / "pets"
    for name in ("Bello/IMG 1.JPG", "Bello/IMG_1.jpg", "Bello/IMG-1.png", "Bello/Üben/IMG 1.jpg", "Mia & Co/a.png"):
        file = source / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), "red").save(file)
    (source / "Bello" / "notes.txt").write_text("no image")
    (source / "Empty").mkdir()
    albums = albums_from_folder(source, tmp_path / "images")
    assert [(album.pet_id, len(album.photos), album.labelled) for album in albums] == [
        ("Bello", 4, False),
        ("Mia-Co", 1, False),
    ]
    ids = [photo.image_id for album in albums for photo in album.photos]
    assert len(set(ids)) == 5
    assert all(ID_PATTERN.fullmatch(image_id) for image_id in ids)
    assert all(p.path.is_file() and p.path.stem == p.image_id for album in albums for p in album.photos)


def test_pets_whose_names_become_the_same_id_are_kept_apart(tmp_path: Path) -> None:
    for name in ("a b", "a+b", "ü", "x" * 200):
        (tmp_path / "pets" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "pets" / name / f"{'y' * 200}.jpg")
    albums = albums_from_folder(tmp_path / "pets", tmp_path / "images")
    names = [album.pet_id for album in albums] + [album.photos[0].image_id for album in albums]
    assert len(set(names)) == 8
    assert all(ID_PATTERN.fullmatch(name) for name in names)


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_folder_without_images_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=name):
        albums_from_folder(tmp_path / name, tmp_path / "images")
