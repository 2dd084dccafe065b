"""Our packages share their names with others on the registry, so the ones that are imported must be this tree's."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["agents", "app", "bridges", "projections", "schemas", "tables"])
def test_the_package_that_is_imported_lies_in_this_tree(name: str) -> None:
    module = importlib.import_module(name)
    assert Path(str(module.__file__)).parent == ROOT / name
