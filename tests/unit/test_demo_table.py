"""The demo's table shows every id whole, so that it can be copied, and no column that would be empty."""

from __future__ import annotations

import io
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from app.local.demo import _print_table, main
from app.local.demo_results import PetResult
from tests.unit.test_demo_results import BURSTS, album, answer

PET = "Bello-at-the-sea-with-grandmother-in-the-summer-1f78f"
HERO = "Bello-at-the-sea-with-grandmother-in-the-summer-IMG_20260501_090000_BURST001"


def result(*, labelled: bool = True) -> PetResult:
    """A pet with two clusters, all with long names."""
    given = answer("ab", "cd", loose="e")
    clusters = tuple(msgspec.structs.replace(cluster, hero_image_id=HERO) for cluster in given.clusters)
    return PetResult(album(BURSTS, labelled=labelled), msgspec.structs.replace(given, pet_id=PET, clusters=clusters))


def printed(results: list[PetResult], width: int) -> str:
    file = io.StringIO()
    _print_table(results, Console(file=file, width=width))
    return file.getvalue()


@pytest.mark.parametrize("width", [40, 80, 200])
def test_ids_are_neither_cut_nor_folded(width: int) -> None:
    lines = printed([result()], width).splitlines()
    assert sum(PET in line for line in lines) == 1
    assert sum(HERO in line for line in lines) == 2


def test_a_table_of_short_names_keeps_to_80_columns() -> None:
    short = PetResult(album(BURSTS), answer("ab", "cd", loose="e"))
    assert max(map(len, printed([short], 80).splitlines())) <= 80


def test_agreement_is_a_column_only_where_the_bursts_are_known() -> None:
    assert "ARI" in printed([result()], 80)
    assert "1.000" in printed([result()], 80)
    assert "ARI" not in printed([result(labelled=False)], 80)


def test_a_bad_setting_is_one_line_and_starts_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("WEB_PORT", "abc")
    assert main(["--root", str(tmp_path)]) == 2
    assert capsys.readouterr().out.startswith("invalid settings: WEB_PORT: ")
    assert list(tmp_path.iterdir()) == []
