"""The demo's contact sheet in a real browser. Needs a Chromium on this machine; `.ci/run` installs one where it can."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import sync_playwright

from app.local.contact_sheet import SheetPet, contact_sheet
from tests.unit.test_contact_sheet import EVIL, answer

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# As root Chromium runs only without its sandbox; the others keep it from reaching out at its start.
FLAGS = ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync"]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_the_sheet_opens_and_shows_every_photo(tmp_path: Path) -> None:
    photos = {f"image-{n}": tmp_path / f"image-{n}.jpg" for n in range(5)}
    for path in photos.values():
        Image.new("RGB", (900, 600), "teal").save(path)
    sheet = tmp_path / "demo.html"
    sheet.write_text(contact_sheet([SheetPet("101", answer(label=EVIL), 0.9876)], photos, title="Clusters"))
    errors: list[str] = []
    requests: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("dialog", lambda dialog: errors.append(f"dialog {dialog.message}"))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(sheet.as_uri())
        shown = page.eval_on_selector_all("img", "nodes => nodes.map(n => [n.alt, n.naturalWidth > 0])")
        widest = page.eval_on_selector_all("img", "nodes => nodes.sort((a, b) => b.width - a.width)[0].alt")
        text = page.inner_text("body")
        browser.close()
    assert {alt for alt, _ in shown} == set(photos)
    assert all(loaded for _, loaded in shown)
    assert widest == "image-1", "the hero is the largest"
    assert EVIL in text
    assert (errors, [url for url in requests if not url.startswith(("file:", "data:"))]) == ([], [])
