"""Tells types of files by their first bytes, before any parser sees them. Called by `decode`."""

from __future__ import annotations

from typing import Final

FORMATS: Final = frozenset({"JPEG", "PNG", "WEBP", "GIF", "HEIF", "BMP", "TIFF"})
"""The types that are decoded, under Pillow's names."""

_PREFIXES: Final = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    # Known, so that the reason can name them, but not decoded.
    (b"%PDF", "PDF"),
    (b"8BPS", "PSD"),
    (b"\x1aE\xdf\xa3", "Matroska or WebM video"),
    (b"PK\x03\x04", "ZIP"),
    (b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\x00\x00\x01\x00", "ICO"),
    (b"%!PS", "EPS"),
)
_HEIF_BRANDS: Final = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


def sniff(data: bytes) -> str:
    """The type's name, or an empty string for anything unknown."""
    for prefix, name in _PREFIXES:
        if data.startswith(prefix):
            return name
    if data[:4] == b"RIFF":
        return {b"WEBP": "WEBP", b"AVI ": "AVI video", b"WAVE": "WAVE audio"}.get(data[8:12], "")
    if data[4:8] == b"ftyp":
        return _iso_media(data[8:12])
    head = data[:512].lstrip().lower()
    return "SVG" if head.startswith((b"<svg", b"<?xml")) and b"<svg" in head else ""


def _iso_media(brand: bytes) -> str:
    if brand in _HEIF_BRANDS:
        return "HEIF"
    return "AVIF" if brand in (b"avif", b"avis") else "MP4 or QuickTime video"
