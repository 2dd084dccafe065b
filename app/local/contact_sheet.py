"""An HTML page of a pet's clusters with their heroes, in one file without references. Called by app/local/demo.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Final

import pillow_heif
from PIL import Image, ImageOps

from app.html_page import THUMB, count, lost, page, picture, small_jpeg
from schemas.answers import AnswerCluster, ClusterAnswer

_HERO: Final = 480
_STYLE: Final = """
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(320px, 100%), 1fr)); gap: 16px; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px; overflow: hidden; }
.card > img { display: block; width: 100%; aspect-ratio: 4 / 3; object-fit: cover; }
.body { padding: 12px; }
.thumbs { display: grid; grid-template-columns: repeat(auto-fill, minmax(68px, 1fr)); gap: 6px; margin-top: 10px; }
.loose .thumbs { grid-template-columns: repeat(auto-fill, minmax(110px, 1fr)); }
.loose { margin-top: 16px; }
"""


@dataclass(frozen=True)
class SheetPet:
    """One section: the service's answer, the pet's name, and the agreement with the known bursts if there are any."""

    name: str
    answer: ClusterAnswer
    ari: float | None = None


def contact_sheet(pets: Sequence[SheetPet], paths: Mapping[str, Path], *, title: str) -> str:
    """The page. `paths`: image id → file; images that cannot be read are shown as empty boxes."""
    photos = sum(pet.answer.image_count for pet in pets)
    clusters = sum(len(pet.answer.clusters) for pet in pets)
    sections = "\n".join(_section(pet, paths) for pet in pets)
    summary = f"{count(len(pets), 'pet')}, {count(photos, 'photo')}, {count(clusters, 'cluster')}"
    return page(title, summary, sections, style=_STYLE)


def _section(pet: SheetPet, paths: Mapping[str, Path]) -> str:
    answer = pet.answer
    facts = [f"version {answer.version}", count(answer.image_count, "photo")]
    if pet.ari is not None:
        facts.append(f"ARI {pet.ari:.3f}")
    cards = "\n".join(_card(cluster, paths) for cluster in answer.clusters)
    return (
        f'<section class="pet"><h2>{escape(pet.name)}</h2><p class="facts">{" · ".join(facts)}</p>\n'
        f'<div class="cards">\n{cards}\n</div>\n{_loose(answer, paths)}</section>'
    )


def _card(cluster: AnswerCluster, paths: Mapping[str, Path]) -> str:
    scores = [member.score for member in cluster.members]
    spread = f" · scores {min(scores):.3f}–{max(scores):.3f}" if scores else ""
    thumbs = "".join(
        _figure(member.image_id, f"{member.score:.3f}", paths, hero=member.image_id == cluster.hero_image_id)
        for member in cluster.members
    )
    hidden = cluster.member_count - len(cluster.members)
    more = f'<p class="more">and {hidden} more</p>' if hidden else ""
    hero = _image(cluster.hero_image_id, _HERO, paths)
    return (
        f'<article class="card">{hero}<div class="body"><h3>{escape(cluster.label)}</h3>'
        f'<p class="facts">{escape(cluster.id)} · {count(cluster.member_count, "photo")}{spread}</p>'
        f'<div class="thumbs">{thumbs}</div>{more}</div></article>'
    )


def _loose(answer: ClusterAnswer, paths: Mapping[str, Path]) -> str:
    if not answer.unclustered_count:
        return ""
    thumbs = "".join(_figure(image_id, image_id, paths) for image_id in answer.unclustered)
    heading = f"<h3>In no cluster: {answer.unclustered_count}</h3>"
    return f'<div class="loose">{heading}<div class="thumbs">{thumbs}</div></div>\n'


def _figure(image_id: str, caption: str, paths: Mapping[str, Path], *, hero: bool = False) -> str:
    mark = ' class="hero"' if hero else ""
    return f"<figure{mark}>{_image(image_id, THUMB, paths)}<figcaption>{escape(caption)}</figcaption></figure>"


def _image(image_id: str, size: int, paths: Mapping[str, Path]) -> str:
    """The image as a small JPEG inside the page."""
    try:
        return picture(image_id, _read(paths[image_id], size))
    except (KeyError, OSError, Image.DecompressionBombError):
        return lost(image_id)


def _read(path: Path, size: int) -> bytes:
    pillow_heif.register_heif_opener()
    with Image.open(path) as image:
        image.draft("RGB", (size, size))
        return small_jpeg(ImageOps.exif_transpose(image).convert("RGB"), size)
