"""The page and the table of a replay: what they show and count, and that names are text."""

from __future__ import annotations

import io
from dataclasses import replace

import msgspec
import pytest
from PIL import Image

from app.compare.albums import Album
from app.html_page import small_jpeg
from app.whatif.comparison import Difference, compare
from app.whatif.page import build_page, images_of, shown_pets
from app.whatif.report import Report, print_report
from schemas.facts import MIXTURE_POLICY
from tests.unit.test_contact_sheet import EVIL, read

POLICIES = [(MIXTURE_POLICY, msgspec.structs.replace(MIXTURE_POLICY, join=0.75, max_components=2))]


def album(hero: str, *clusters: str, loose: str = "") -> Album:
    """Each photo a letter, each cluster a word."""
    return Album(
        clusters={f"cluster-{number}": tuple(word) for number, word in enumerate(clusters)},
        heroes={f"cluster-{number}": (hero if hero in word else word[0],) for number, word in enumerate(clusters)},
        loose=tuple(loose),
    )


@pytest.fixture
def pet() -> Difference:
    """One photo leaves for another cluster, one for none; a cluster is made, one has another hero."""
    return compare("101", album("a", "abcde", "fgh", "xyz"), album("b", "abc", "fgh", "xyz", "dq", loose="e"))


@pytest.fixture
def jpeg() -> bytes:
    return small_jpeg(Image.new("RGB", (300, 200), "teal"), 160)


def page_of(pet: Difference, jpeg: bytes, missing: str = "") -> str:
    pictures = {image: jpeg for image in images_of(pet) if image not in missing}
    return build_page(Report([pet], POLICIES, 1), [pet], pictures, dict.fromkeys(missing, "not_found: gone"))


def test_what_changes_is_shown_with_its_pictures(pet: Difference, jpeg: bytes) -> None:
    found = read(page_of(pet, jpeg))
    assert {image["alt"] for image in found.images} == set("abcde"), "q and the clusters that stay are not shown"
    assert all((image["src"] or "").startswith("data:image/jpeg;base64,") for image in found.images)
    text = "\n".join(found.text)
    assert "What if mixture-1 (mixture 1): join 0.8 → 0.75, max_components 1024 → 2" in text
    for shown in (
        "cluster-0",
        "Leave: 2",
        "Stay: 3",
        "Made: cluster-3",
        "In no cluster",
        "to no cluster",
        "from cluster 0",
    ):
        assert shown in text
    assert "2 of 11 photos moved" in text


def test_a_picture_that_cannot_be_had_is_its_id(pet: Difference, jpeg: bytes) -> None:
    markup = page_of(pet, jpeg, missing="d")
    found = read(markup)
    assert {image["alt"] for image in found.images} == set("abce")
    assert "d" in found.text
    assert 'title="d: not_found: gone"' in markup
    assert "1 picture could not be had" in markup


def test_the_page_stands_alone_and_names_are_text(jpeg: bytes) -> None:
    today, what_if = album("a", "ab", loose="c"), album("b", "ab", loose="c")
    evil = replace(compare(EVIL, today, what_if), lost=(EVIL,))
    evil = replace(evil, changes=tuple(replace(change, leave=((EVIL, EVIL),)) for change in evil.changes))
    markup = page_of(evil, jpeg, missing=EVIL)
    assert "<script" not in markup
    assert EVIL in "\n".join(read(markup).text)
    assert not any(word in markup for word in ("http:", "https:", 'src="/', "url(", "@import"))


def test_no_pet_without_changes_has_a_section_and_none_is_begun_behind_the_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pets = [compare(name, album("", "abcdef"), album("", "abcd", loose="ef")) for name in ("one", "two", "three")]
    same = compare("same", album("", "ab"), album("", "ab"))
    assert [pet.pet_id for pet in shown_pets(Report([*pets, same], POLICIES, 1))] == ["one", "two", "three"]
    assert shown_pets(Report([same], POLICIES, 1)) == []
    monkeypatch.setattr("app.whatif.page._PICTURES", 7)
    assert [pet.pet_id for pet in shown_pets(Report(pets, POLICIES, 1))] == ["one", "two"], "six pictures each"


def test_the_table_names_pets_that_differ_and_sums_all(pet: Difference) -> None:
    out = io.StringIO()
    same = compare("calm", album("", "klm"), album("", "klm"))
    print_report(Report([pet, same], POLICIES, 1), out, as_json=False)
    printed = out.getvalue()
    assert "join 0.8 → 0.75" in printed
    assert "101" in printed
    assert "calm" not in printed
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines() if line.startswith("│")]
    assert rows[-1] == ["all", f"{(1 + (pet.ari or 0)) / 2:.4f}", "14", "2", "4", "5", "1", "0", "1"]
    assert "1 of 2 pets differ" in printed
