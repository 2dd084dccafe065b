"""The contact sheet shows every photo, escapes what it shows and needs nothing from outside."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from app.local.contact_sheet import SheetPet, contact_sheet
from schemas.answers import AnswerCluster, AnswerHero, AnswerMember, AnswerMetrics, ClusterAnswer

EVIL = '<script>alert("x")</script>\'&'


class Reader(HTMLParser):
    """Collects images, text and tags."""

    def __init__(self) -> None:
        super().__init__()
        self.images: list[dict[str, str | None]] = []
        self.tags: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "img":
            self.images.append(dict(attrs))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    return reader


def answer(label: str = "Portraits", hidden: int = 0) -> ClusterAnswer:
    members = tuple(AnswerMember(f"image-{n}", 0.9 - n / 100, n) for n in range(3))
    cluster = AnswerCluster("101-cluster-0", label, members, "image-1", 3 + hidden, (AnswerHero("image-1", 1, 0.8),))
    return ClusterAnswer(
        pet_id="101",
        clusters=(cluster,),
        metrics=AnswerMetrics({}, None, ""),
        updated_at="",
        image_count=5 + hidden,
        unclustered_count=2,
        unclustered=("image-3", "image-4"),
        generation=1,
        version=7,
    )


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, Path]:
    found = {f"image-{n}": tmp_path / f"image-{n}.jpg" for n in range(5)}
    for path in found.values():
        Image.new("RGB", (900, 600), "teal").save(path)
    return found


def test_every_photo_is_there_and_the_hero_is_the_largest(paths: dict[str, Path]) -> None:
    page = read(contact_sheet([SheetPet("101", answer(), 0.9876)], paths, title="Clusters"))
    assert {image["alt"] for image in page.images} == set(paths)
    widths: dict[str, int] = {}
    for image in page.images:
        kind, _, data = (image["src"] or "").partition(",")
        assert kind == "data:image/jpeg;base64"
        width = Image.open(io.BytesIO(base64.b64decode(data))).width
        widths[image["alt"] or ""] = max(width, widths.get(image["alt"] or "", 0))
    assert max(widths, key=lambda name: widths[name]) == "image-1"
    text = " ".join(page.text)
    for shown in ("Portraits", "101-cluster-0", "version 7", "ARI 0.988", "In no cluster: 2", "0.880–0.900"):
        assert shown in text


def test_names_are_escaped(paths: dict[str, Path]) -> None:
    page = contact_sheet([SheetPet(EVIL, answer(label=EVIL))], paths, title=EVIL)
    assert "<script" not in page
    assert "".join(read(page).text).count(EVIL) == 4  # title, heading, pet, label


def test_page_needs_nothing_from_outside(paths: dict[str, Path]) -> None:
    page = contact_sheet([SheetPet("101", answer())], paths, title="Clusters")
    assert not re.search(r"https?://|url\(|@import", page)
    assert not {"script", "link", "iframe"} & set(read(page).tags)


def test_members_beyond_the_listed_ones_are_counted(paths: dict[str, Path]) -> None:
    assert "and 40 more" in contact_sheet([SheetPet("101", answer(hidden=40))], paths, title="Clusters")


def test_unreadable_photo_keeps_its_place(paths: dict[str, Path]) -> None:
    paths["image-0"].write_bytes(b"no image")
    del paths["image-3"]
    page = contact_sheet([SheetPet("101", answer())], paths, title="Clusters")
    assert set(re.findall(r'class="lost" role="img" aria-label="([^"]+)"', page)) == {"image-0", "image-3"}
