"""A comparison in words: the table of totals, and the Markdown file. Pure. Called by `python -m app compare`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from app.compare.totals import PetResult, Totals, quantiles

_HEAD = (
    "pet | counts as | photos there | missing here | only here | clusters there, here | heroes same | changed there"
    " | changed here | why"
)


@dataclass(frozen=True, kw_only=True)
class Frame:
    """What a report says beside the figures: when it began, who was asked, and what was demanded."""

    began: str
    there: str
    here: str
    pets: str
    least: float
    stopped: bool = False


def rows(totals: Totals) -> Iterator[tuple[str, str]]:
    """The figures, each with its meaning."""
    pets = totals.pets
    yield "pets asked about", str(totals.asked)
    yield "both have it", str(pets["both"])
    yield "missing here", str(pets["missing_here"])
    yield "missing there (its answers expire)", str(pets["missing_there"])
    yield "neither has it", str(pets["neither"])
    yield "could not be asked about", str(pets["error"])
    yield "pets that count", str(totals.compared)
    yield "agreement of the grouping, mean (ARI)", _score(totals.agreement)
    yield "same grouping, no photo missing", str(totals.same)
    yield "photos that the predecessor lists", str(totals.photos_there)
    yield "of those, missing here", str(totals.photos_missing)
    yield "photos listed here only", str(totals.photos_only_here)
    yield "clusters there, here", f"{totals.clusters_there}, {totals.clusters_here}"
    yield "heroes there", str(totals.heroes)
    yield "of those, the hero here too", str(totals.heroes_same)
    yield "of those, among the heroes here", str(totals.heroes_known)
    yield "ms there: median, 95 %, longest", _milliseconds(totals.seconds_there)
    yield "ms here: median, 95 %, longest", _milliseconds(totals.seconds_here)


def verdict(totals: Totals, least: float) -> tuple[bool, str]:
    """Whether the agreement is as demanded, and the sentence that says so."""
    if totals.agreement is None:
        return False, "nothing could be compared: the predecessor lists no photo of any of these pets"
    enough = totals.agreement >= least
    return enough, f"agreement {_score(totals.agreement)}, {'at least' if enough else 'below'} {least:g} as demanded"


def markdown(frame: Frame, totals: Totals) -> str:
    """The report file."""
    _, sentence = verdict(totals, frame.least)
    lines = [
        "# Comparison with the predecessor",
        "",
        f"Begun {frame.began}; {frame.pets}{', stopped before the end' if frame.stopped else ''}.",
        f"There: {frame.there}. Here: {frame.here}.",
        "",
        f"**{sentence[0].upper()}{sentence[1:]}.**",
        "",
        "| | |",
        "|---|---|",
        *(f"| {_cell(name)} | {_cell(value)} |" for name, value in rows(totals)),
        "",
        "A pet that is missing here, or that could not be asked about, counts as 0; one of which the predecessor lists",
        "no photo does not count. The predecessor lists at most MAX_CLUSTER_SIZE photos a cluster and none outside of",
        "clusters, so photos that are listed here only are to be expected.",
    ]
    if worst := totals.worst():
        lines += ["", "## Pets that agree least", "", f"| {_HEAD} |", "|" + "---|" * 10]
        lines += ["| " + " | ".join(map(_cell, _pet(result))) + " |" for result in worst]
    return "\n".join(lines) + "\n"


def _pet(result: PetResult) -> Iterator[str]:
    found = result.agreement
    yield result.pet_id
    yield _score(result.score())
    yield str(found.photos_there) if found else ""
    yield f"{len(found.missing)} {' '.join(found.missing[:5])}".strip() if found else ""
    yield str(found.only_here) if found else ""
    yield f"{found.clusters_there}, {found.clusters_here}" if found else ""
    yield f"{found.heroes_same} of {found.heroes}" if found else ""
    yield result.updated_there
    yield result.updated_here
    yield result.error or (result.outcome.replace("_", " ") if result.outcome != "both" else "")


def _score(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def _milliseconds(seconds: list[float]) -> str:
    found = quantiles(seconds)
    return ", ".join(f"{1000 * value:.1f}" for value in found.values()) if found else "none"


def _cell(text: str) -> str:
    """As a cell of a table may hold it: a source's words are not markup."""
    return " ".join(text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("`", "'").split())
