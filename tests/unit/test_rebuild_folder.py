"""Rows of a rebuild that a process which was left over still holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.rebuild.fold import job
from projections.fold_state import FoldState
from schemas.errors import StopProcess


def test_who_holds_the_rows_is_told_and_is_no_store_that_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "LOCKED_SECONDS", 0.0)
    held = FoldState(tmp_path / "built")
    try:
        with pytest.raises(StopProcess, match="another process holds"):
            job.open_patiently(tmp_path / "built")
    finally:
        held.close()
