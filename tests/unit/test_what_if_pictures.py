"""Small pictures from the configured source: as displayed, and a reason for each that cannot be had."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from app.html_page import THUMB
from app.local.ports import free_port
from app.settings import Settings
from app.whatif.pictures import small_pictures


async def test_pictures_are_small_and_turned_as_displayed(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # on its side
    Image.new("RGB", (900, 600), "teal").save(tmp_path / "turned.jpg", exif=exif)
    Image.new("RGB", (60, 30), "teal").save(tmp_path / "wide.jpg")
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    settings = Settings(image_source=f"file://{tmp_path}/{{image_id}}.jpg")
    found, missing = await small_pictures(settings, ["turned", "wide", "broken", "gone", "turned"])
    sizes = {name: Image.open(io.BytesIO(data)).size for name, data in found.items()}
    assert sizes == {"turned": (107, THUMB), "wide": (THUMB, 80)}
    assert {name: why.partition(":")[0] for name, why in missing.items()} == {
        "broken": "not_an_image",
        "gone": "not_found",
    }


async def test_a_storage_that_is_away_leaves_reasons() -> None:
    settings = Settings(storage_service_url=f"http://127.0.0.1:{free_port()}")
    found, missing = await small_pictures(settings, [f"image-{number}" for number in range(40)])
    assert (found, len(missing)) == ({}, 40)
    assert missing["image-0"] == "the storage service cannot be reached: ClientConnectorError"
