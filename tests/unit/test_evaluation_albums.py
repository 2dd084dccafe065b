"""The evaluation's albums: seeded, split by source photograph, of the kinds they claim to be."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from agents.images.decode import decode
from agents.images.phash import phash
from tests.evaluation.albums import ALBUMS, BURST, HERO, PARTS, Album, picture, plan, split
from tests.evaluation.photographs import LONG_SIDE, Photograph, Undownloadable, chosen, photograph
from tests.evaluation.photographs import photographs as photographs_of
from tests.photos import SKIMAGE, SKLEARN, encoded, photo, photo_path

CATEGORIES = ("cat", "object", "place", "person", "big-cat", "place", "object", "place", "cat")
SEED = 5


@pytest.fixture(scope="module")
def photographs() -> list[Photograph]:
    """The quarters of the bundled photographs, so that each part has some of each category."""
    found = []
    for name, category in zip(SKIMAGE + SKLEARN, CATEGORIES, strict=True):
        for corner in ((0, 0), (0, 1), (1, 0), (1, 1)):
            found.append(photograph(f"{name} {corner}", category, encoded(_quarter(photo(name), *corner), quality=90)))
    return found


def _quarter(image: Image.Image, right: int, low: int) -> Image.Image:
    """A quarter, enlarged to what a best shot needs."""
    width, height = image.width // 2, image.height // 2
    part = image.crop((right * width, low * height, (1 + right) * width, (1 + low) * height))
    return part.resize((640, round(640 * height / width)))


@pytest.fixture(scope="module")
def albums(photographs: list[Photograph]) -> list[Album]:
    return plan(photographs, SEED)


def pixels_of(album: Album, photographs: list[Photograph], most: int = 8) -> list[bytes]:
    by_name = {p.name: p for p in photographs}
    return [picture(shot, album, by_name) for shot in album.shots[:most]]


def test_the_same_seed_gives_the_same_plan_and_the_same_bytes(photographs: list[Photograph]) -> None:
    first, again, other = plan(photographs, SEED), plan(photographs, SEED), plan(photographs, SEED + 1)
    assert first == again
    assert first != other
    for level in (*ALBUMS, HERO):
        one, two = (next(a for a in albums if a.level == level) for albums in (first, again))
        assert pixels_of(one, photographs) == pixels_of(two, photographs)


def test_a_shot_does_not_depend_on_what_was_made_before_it(photographs: list[Photograph], albums: list[Album]) -> None:
    by_name = {p.name: p for p in photographs}
    album = albums[0]
    together = pixels_of(album, photographs, 4)
    assert [picture(shot, album, by_name) for shot in reversed(album.shots[:4])] == together[::-1]


def test_no_source_is_in_both_parts(photographs: list[Photograph], albums: list[Album]) -> None:
    used: dict[str, set[str]] = {part: set() for part in PARTS}
    for album in albums:
        for shot in album.shots:
            used[album.part] |= {shot.source, shot.place} - {""}
    assert used["tune"]
    assert used["report"]
    assert not used["tune"] & used["report"]
    parts = split(photographs, SEED)
    assert sorted(p.name for part in parts.values() for p in part) == sorted(p.name for p in photographs)


def test_every_category_is_halved(photographs: list[Photograph]) -> None:
    parts = split(photographs, SEED)
    counts = {part: Counter(p.category for p in members) for part, members in parts.items()}
    assert all(abs(counts["tune"][c] - counts["report"][c]) <= 1 for c in set(CATEGORIES))


def test_levels_have_the_albums_that_are_promised(albums: list[Album]) -> None:
    found = Counter((a.part, a.level, a.kind) for a in albums if a.kind != HERO)
    wanted = {(part, level, kind): n for part in PARTS for level, kinds in ALBUMS.items() for kind, n in kinds.items()}
    assert found == wanted
    assert sum(wanted.values()) == 60


def test_groups_are_bursts_of_one_source_or_singletons(albums: list[Album]) -> None:
    for album in (a for a in albums if a.kind != HERO):
        groups: dict[int, list[tuple[str, str]]] = {}
        for shot in album.shots:
            groups.setdefault(shot.label, []).append((shot.source, shot.place))
        assert all(len(set(shots)) == 1 for shots in groups.values())
        assert all(len(shots) == 1 or BURST[0] <= len(shots) <= BURST[1] for shots in groups.values())
        sources = [shots[0][0] for shots in groups.values()]
        assert len(set(sources)) == len(sources), "two groups of one album must not show the same photograph"
        if album.kind == "places":
            assert len({shots[0][1] for shots in groups.values()}) < len(groups)


def test_pictures_of_an_album_differ(photographs: list[Photograph], albums: list[Album]) -> None:
    for album in (albums[0], albums[-1]):
        digests = {hashlib.sha256(data).digest() for data in pixels_of(album, photographs, 30)}
        assert len(digests) == len(album.shots[:30])


def test_a_copy_has_the_pixels_of_its_original(photographs: list[Photograph], albums: list[Album]) -> None:
    by_name = {p.name: p for p in photographs}
    found = 0
    for album in (a for a in albums if a.level == "easy"):
        for shot in (s for s in album.shots if s.copy):
            original = next(s for s in album.shots if s.seed == shot.seed and not s.copy)
            hashes = [
                phash(decode(picture(s, album, by_name), size=32, max_pixels=10**7).gray) for s in (shot, original)
            ]
            assert (hashes[0] ^ hashes[1]).bit_count() <= 10
            found += 1
            if found == 10:
                return
    pytest.fail("the easy albums have fewer than ten copies")


def test_a_hero_group_has_one_best_shot_anywhere_and_not_always_the_largest(
    photographs: list[Photograph], albums: list[Album]
) -> None:
    groups = [a for a in albums if a.kind == HERO]
    by_name = {p.name: p for p in photographs}
    assert all(sum(shot.best for shot in album.shots) == 1 for album in groups)
    assert len({[shot.best for shot in album.shots].index(True) for album in groups}) > 2
    largest, looked_at = 0, groups[::5]
    for album in looked_at:
        sizes = [Image.open(io.BytesIO(picture(shot, album, by_name))).size for shot in album.shots]
        largest += int(np.argmax([w * h for w, h in sizes])) == [s.best for s in album.shots].index(True)
    assert largest < len(looked_at) / 2


def test_too_few_photographs_are_refused(photographs: list[Photograph]) -> None:
    with pytest.raises(ValueError, match="no family of categories has 4 photographs"):
        plan(photographs[:6], SEED, {"easy": {"alike": 1}})


def test_the_list_of_photographs_is_well_formed() -> None:
    found = chosen()
    assert sum(map(len, found.values())) == 131
    assert all(category == category.lower() and category for files in found.values() for category in files.values())
    for name in SKIMAGE:
        if name in ("chelsea.png", "camera.png"):
            assert f"data/{name}" in found["skimage"]


def test_without_an_index_the_reason_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(Undownloadable, match="alibi"):
        photographs_of(tmp_path)


def test_a_photograph_is_brought_to_one_size() -> None:
    found = photograph("x", "cat", photo_path("chelsea.png").read_bytes())
    assert max(found.image.size) == LONG_SIDE
    assert found.image.mode == "RGB"
    assert found.native == 451
