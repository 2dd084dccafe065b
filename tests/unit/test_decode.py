"""Every allowed type decodes to the same picture; what cannot be decoded says why."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from agents.images.decode import GRAY_SIDE, DecodedImage, decode
from agents.images.errors import ImageError
from agents.images.file_types import sniff
from tests.photos import encoded, photo, photo_path

LIMIT = 64_000_000


def run(data: bytes, *, size: int = 224, max_pixels: int = LIMIT) -> DecodedImage:
    return decode(data, size=size, max_pixels=max_pixels)


def kind_of(data: bytes, **limits: int) -> str:
    with pytest.raises(ImageError) as caught:
        run(data, **limits)
    assert caught.value.reason
    return caught.value.kind


def difference(one: DecodedImage, other: DecodedImage) -> float:
    return float(np.abs(one.pixels.astype(float) - other.pixels.astype(float)).mean())


@pytest.mark.parametrize(
    ("kind", "options", "bound"),
    [
        ("JPEG", {"quality": 95}, 3),
        ("PNG", {}, 0),
        ("WEBP", {"quality": 95}, 3),
        ("GIF", {}, 12),
        ("HEIF", {"quality": 95}, 3),
        ("BMP", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
    ],
)
def test_every_allowed_type_gives_the_same_picture(kind: str, options: dict[str, Any], bound: float) -> None:
    original = photo("coffee.png")
    decoded, reference = run(encoded(original, kind, **options)), run(encoded(original, "PNG"))
    assert (decoded.width, decoded.height) == (600, 400)
    assert decoded.pixels.shape == (224, 224, 3)
    assert decoded.pixels.dtype == decoded.gray.dtype == np.uint8
    assert decoded.gray.shape == (341, GRAY_SIDE)
    assert difference(decoded, reference) <= bound


def test_a_large_jpeg_decoded_at_a_smaller_scale_shows_the_same_picture() -> None:
    large = photo("china.jpg").resize((4032, 3024), Image.Resampling.BICUBIC)
    decoded = run(encoded(large, "JPEG", quality=90))
    assert (decoded.width, decoded.height) == (4032, 3024)
    full = np.asarray(large.resize((224, 224), Image.Resampling.BICUBIC), float)
    assert float(np.abs(decoded.pixels - full).mean()) < 3


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "PNG", "TIFF"])
def test_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    upright = photo("coffee.png")
    stored = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = upright.transpose(stored) if stored is not None else upright
    decoded = run(encoded(turned, kind, exif=exif.tobytes() if kind != "TIFF" else exif))
    assert (decoded.width, decoded.height) == (600, 400)
    assert decoded.gray.shape == (341, GRAY_SIDE)
    assert difference(decoded, run(encoded(upright, "PNG"))) < 4


def test_a_turned_heif_photo_is_upright() -> None:
    upright = photo("coffee.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    decoded = run(encoded(upright.transpose(Image.Transpose.ROTATE_90), "HEIF", exif=exif.tobytes(), quality=95))
    assert (decoded.width, decoded.height) == (600, 400)
    assert difference(decoded, run(encoded(upright, "PNG"))) < 4


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({0x9003: "2024:02:29 17:05:09"}, "2024-02-29T17:05:09"),
        ({0x9004: "2024:03:01 00:00:00"}, "2024-03-01T00:00:00"),
        ({0x9003: "0000:00:00 00:00:00", 0x9004: "2024:03:01 00:00:01"}, "2024-03-01T00:00:01"),
        ({0x9003: "2023:02:29 17:05:09"}, ""),
        ({0x9003: "yesterday"}, ""),
        ({}, ""),
    ],
)
def test_exif_time_becomes_iso_8601_or_nothing(tags: dict[int, str], expected: str) -> None:
    exif = Image.Exif()
    for tag, value in tags.items():
        exif.get_ifd(0x8769)[tag] = value
    assert run(encoded(photo("coffee.png"), "JPEG", exif=exif.tobytes())).taken_at == expected


def test_a_broken_exif_block_does_not_spoil_the_picture() -> None:
    data = encoded(photo("coffee.png"), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\x7f" + b"\xff" * 40)
    assert run(data).taken_at == ""


def test_unusual_modes_look_like_the_original() -> None:
    original = photo("coffee.png")
    reference = run(encoded(original, "PNG"))
    gray = run(encoded(original.convert("L"), "PNG"))
    opaque = original.copy()
    opaque.putalpha(255)
    assert difference(run(encoded(opaque, "PNG")), reference) == 0
    assert difference(run(encoded(original.convert("CMYK"), "JPEG", quality=95)), reference) < 4
    assert difference(run(encoded(original.quantize(256), "PNG")), reference) < 12
    sixteen = Image.fromarray(np.asarray(original.convert("L")).astype(np.uint16) * 257)
    assert sixteen.mode == "I;16"
    assert difference(run(encoded(sixteen, "PNG")), gray) < 1
    assert difference(run(encoded(sixteen, "TIFF")), gray) < 1


def test_transparent_parts_become_white() -> None:
    glass = Image.new("RGBA", (300, 200), (0, 0, 0, 0))
    assert run(encoded(glass, "PNG")).pixels.min() == 255


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue", "green")]
    for kind in ("GIF", "WEBP", "TIFF"):
        decoded = run(encoded(frames[0], kind, save_all=True, append_images=frames[1:]))
        red, green, blue = decoded.pixels.reshape(-1, 3).mean(axis=0)
        assert red > 240
        assert max(green, blue) < 15


def test_a_phone_s_multi_picture_jpeg_is_a_jpeg() -> None:
    original = photo("coffee.png")
    data = encoded(original, "MPO", save_all=True, append_images=[original.rotate(180)])
    assert difference(run(data), run(encoded(original, "PNG"))) < 4


def test_what_is_no_image_says_so() -> None:
    assert kind_of(b"") == "not_an_image"
    assert kind_of(b"<html><body>Not found</body></html>") == "not_an_image"
    assert kind_of(bytes(range(256)) * 8) == "not_an_image"


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"%PDF-1.7\n" + b"x" * 99, "PDF"),
        (b"\x00\x00\x00\x20ftypisom" + b"x" * 99, "MP4 or QuickTime video"),
        (b"\x00\x00\x00\x20ftypavif" + b"x" * 99, "AVIF"),
        (b"<?xml version='1.0'?><svg xmlns='x'/>", "SVG"),
    ],
)
def test_types_that_are_not_decoded_are_named(data: bytes, name: str) -> None:
    assert sniff(data) == name
    with pytest.raises(ImageError, match=name) as caught:
        run(data)
    assert caught.value.kind == "unsupported_type"


def test_floating_point_pixels_are_refused() -> None:
    assert kind_of(encoded(Image.fromarray(np.ones((9, 9), np.float32)), "TIFF")) == "unsupported_type"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "HEIF", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_a_file_cut_short_is_rejected(kind: str, share: float) -> None:
    data = encoded(photo("coffee.png"), kind)
    assert kind_of(data[: int(len(data) * share)]) == "truncated"


def test_garbage_behind_a_header_is_rejected() -> None:
    data = encoded(photo("coffee.png"), "PNG")
    assert kind_of(data[:60] + b"\x00" * (len(data) - 60)) == "truncated"


def png_claiming(width: int, height: int) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\x00" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [9_000, 60_000])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_too_many_pixels_are_refused_before_they_are_decoded(side: int) -> None:
    # The file holds no such pixels: decoding it would end in "truncated" instead.
    assert kind_of(png_claiming(side, side)) == "too_many_pixels"


def test_the_limit_on_pixels_is_inclusive() -> None:
    data = photo_path("coffee.png").read_bytes()
    assert run(data, max_pixels=600 * 400).width == 600
    assert kind_of(data, max_pixels=600 * 400 - 1) == "too_many_pixels"


@pytest.mark.parametrize("shape", [(1, 1), (2000, 1), (1, 2000)])
def test_extreme_shapes_decode(shape: tuple[int, int]) -> None:
    decoded = run(encoded(Image.new("RGB", shape, "teal"), "PNG"))
    assert (decoded.width, decoded.height) == shape
    assert max(decoded.gray.shape) == GRAY_SIDE
