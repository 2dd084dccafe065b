"""HTML pages that stand alone: style and pictures lie inside. Used by app/local/contact_sheet.py and app/whatif."""

from __future__ import annotations

import base64
import io
from html import escape
from typing import Final

from PIL import Image

THUMB: Final = 160
_QUALITY: Final = 82
_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header><h1>{title}</h1><p>{summary}</p></header>
<main>
{main}
</main>
</body>
</html>
"""
_STYLE: Final = """
:root { color-scheme: light dark; --bg: #f6f6f4; --card: #fff; --ink: #1c1c1a; --soft: #6d6d68; --line: #e2e2dd; }
@media (prefers-color-scheme: dark) {
  :root { --bg: #161615; --card: #222220; --ink: #ecece8; --soft: #9c9c95; --line: #383834; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--bg); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
header, main { max-width: 1280px; margin: 0 auto; padding: 24px; }
h1, h2, h3, p { margin: 0; }
h1 { font-size: 26px; } h2 { font-size: 20px; } h3 { font-size: 15px; }
header p, .facts, figcaption, .more { color: var(--soft); font-size: 13px; font-variant-numeric: tabular-nums; }
.pet { margin-bottom: 40px; }
.pet > .facts { margin-bottom: 12px; }
figure { margin: 0; min-width: 0; }
figure img, .lost { display: block; width: 100%; aspect-ratio: 1; object-fit: cover; border-radius: 6px; }
.lost { background: var(--line); }
figcaption { font-size: 11px; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.hero img { outline: 2px solid currentColor; outline-offset: -2px; }
"""


def page(title: str, summary: str, main: str, *, style: str) -> str:
    """A page. `title` is text; `summary`, `main` and the additional `style` are markup."""
    return _PAGE.format(title=escape(title), style=_STYLE + style, summary=summary, main=main)


def count(number: int, noun: str) -> str:
    """E.g. ``1 photo``, ``2 photos``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def picture(name: str, jpeg: bytes) -> str:
    """The picture, inside the page."""
    alt = escape(name, quote=True)
    return f'<img src="data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}" alt="{alt}" title="{alt}">'


def lost(name: str, shown: str = "") -> str:
    """A box in the place of a picture that is not there."""
    alt = escape(name, quote=True)
    return f'<div class="lost" role="img" aria-label="{alt}" title="{alt}">{escape(shown)}</div>'


def small_jpeg(image: Image.Image, size: int) -> bytes:
    """An RGB image, at most `size` pixels wide and high, as JPEG. Changes `image`."""
    image.thumbnail((size, size))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=_QUALITY, optimize=True)
    return out.getvalue()
