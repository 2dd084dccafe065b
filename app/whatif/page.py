"""The HTML report of a replay, with the pictures of what changes, in one file without references. Called by `run.py`.

Each pet is a section, each cluster of which something differs a row: the photos that leave, stay and arrive.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Final

from app.html_page import count, lost, page, picture
from app.settings import Settings
from app.whatif.comparison import NONE, Change, Difference
from app.whatif.pictures import small_pictures
from app.whatif.report import COLUMNS, LISTED, Report, policy_lines, remarks, row

PETS_SHOWN: Final = 30
_PICTURES: Final = 1_000
"""No pet is begun behind so many."""
_ROWS: Final = 30
_MOVED: Final = 12
_STAYING: Final = 6
_STYLE: Final = """
table { border-collapse: collapse; margin: 12px 0 32px; font-variant-numeric: tabular-nums; font-size: 13px; }
th, td { padding: 4px 10px; text-align: right; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; overflow-wrap: anywhere; }
.row { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 12px; margin: 0 0 12px; }
.groups { display: flex; flex-wrap: wrap; gap: 20px; margin-top: 8px; }
.group h4 { margin: 0 0 4px; font-size: 13px; font-weight: 600; }
.thumbs { display: flex; flex-wrap: wrap; gap: 6px; }
.thumbs figure { width: 96px; }
.thumbs .lost { padding: 6px; font-size: 11px; overflow-wrap: anywhere; overflow: hidden; }
"""

Shown = Sequence[tuple[str, str]]
"""(image, what stands below it)."""


async def write_page(settings: Settings, report: Report, file: Path) -> int:
    """Get the pictures and write the page; returns how many pictures could not be had. Raises OSError of the file."""
    pets = shown_pets(report)
    pictures, missing = await small_pictures(settings, (image for pet in pets for image in images_of(pet)))
    await asyncio.to_thread(file.write_text, build_page(report, pets, pictures, missing), encoding="utf-8")
    return len(missing)


def shown_pets(report: Report) -> list[Difference]:
    """The pets that have a section."""
    found, pictures = list[Difference](), 0
    for pet in report.changed:
        if not pet.changes or pictures >= _PICTURES:
            break
        found.append(pet)
        pictures += len(set(images_of(pet)))
    return found


def images_of(pet: Difference) -> Iterator[str]:
    """The images that its section shows."""
    for change in pet.changes[:_ROWS]:
        for _, shown, _ in _groups(change):
            yield from (image for image, _ in shown)


def build_page(
    report: Report, pets: Sequence[Difference], pictures: Mapping[str, bytes], missing: Mapping[str, str]
) -> str:
    """The page. `pets`: those with a section. `pictures`: image → JPEG; `missing`: image → why there is none."""
    lines = [*(f"What if {line}" for line in policy_lines(report.policies)), *remarks(report)]
    if len(pets) < len(report.changed):
        lines.append(f"with pictures: the {count(len(pets), 'pet')} that differ most")
    if missing:
        lines.append(f"{count(len(missing), 'picture')} could not be had; ids stand in their place")
    sections = "\n".join(_section(pet, pictures, missing) for pet in pets)
    return page("What if", "<br>".join(map(escape, lines)), f"{_table(report)}\n{sections}", style=_STYLE)


def _table(report: Report) -> str:
    rows = [row(each.pet_id, each) for each in report.changed[:LISTED]]
    rows.append(row("all", report.totals))
    head = "".join(f"<th>{escape(name)}</th>" for name in COLUMNS)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>" for cells in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _section(pet: Difference, pictures: Mapping[str, bytes], missing: Mapping[str, str]) -> str:
    ari = "none" if pet.ari is None else f"{pet.ari:.4f}"
    facts = [
        f"ARI {ari}",
        f"{pet.moved} of {count(pet.photos, 'photo')} moved",
        f"{count(pet.clusters_today, 'cluster')} today, {pet.clusters_what_if} what if",
        f"{len(pet.made)} made, {len(pet.lost)} lost",
        f"{len(pet.heroes)} heroes changed",
    ]
    rows = "\n".join(_row(change, pictures, missing) for change in pet.changes[:_ROWS])
    hidden = len(pet.changes) - _ROWS
    more = f'<p class="more">and {hidden} more clusters that differ</p>' if hidden > 0 else ""
    return (
        f'<section class="pet"><h2>{escape(pet.pet_id)}</h2><p class="facts">{" · ".join(facts)}</p>\n'
        f"{rows}\n{more}</section>"
    )


def _row(change: Change, pictures: Mapping[str, bytes], missing: Mapping[str, str]) -> str:
    groups = "".join(_group(title, shown, hidden, pictures, missing) for title, shown, hidden in _groups(change))
    return f'<article class="row"><h3>{escape(_title(change))}</h3><div class="groups">{groups}</div></article>'


def _title(change: Change) -> str:
    if change.today == change.what_if == NONE:
        return "In no cluster"
    if change.what_if == NONE:
        return f"Lost: {change.today}"
    if change.today == NONE:
        return f"Made: {change.what_if}"
    return change.today if change.today == change.what_if else f"{change.today}, what if {change.what_if}"


def _groups(change: Change) -> list[tuple[str, Shown, int]]:
    """(title, what is shown, how many are not)."""
    heroes = [(change.hero_today, "today"), (change.hero_what_if, "what if")] if change.hero_differs else []
    leave = [(image, f"to {_named(cluster)}") for image, cluster in change.leave]
    arrive = [(image, f"from {_named(cluster)}") for image, cluster in change.arrive]
    stay = [(image, image) for image in change.stay] if change.today else []
    groups = [
        ("Hero", heroes, len(heroes)),
        (f"Leave: {len(leave)}", leave, _MOVED),
        (f"Stay: {len(stay)}", stay, _STAYING),
        (f"Arrive: {len(arrive)}", arrive, _MOVED),
    ]
    return [(title, shown[:most], max(len(shown) - most, 0)) for title, shown, most in groups if shown]


def _named(cluster: str) -> str:
    """Without the pet, which stands above."""
    return f"cluster {cluster.rpartition('-')[2]}" if cluster else "no cluster"


def _group(title: str, shown: Shown, hidden: int, pictures: Mapping[str, bytes], missing: Mapping[str, str]) -> str:
    figures = "".join(_figure(image, caption, pictures, missing) for image, caption in shown)
    more = f'<p class="more">and {hidden} more</p>' if hidden else ""
    return f'<div class="group"><h4>{escape(title)}</h4><div class="thumbs">{figures}</div>{more}</div>'


def _figure(image: str, caption: str, pictures: Mapping[str, bytes], missing: Mapping[str, str]) -> str:
    data = pictures.get(image)
    inner = picture(image, data) if data is not None else lost(f"{image}: {missing.get(image, 'no picture')}", image)
    return f'<figure>{inner}<figcaption title="{escape(caption, quote=True)}">{escape(caption)}</figcaption></figure>'
