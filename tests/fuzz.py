"""Values, mutated trees and damaged bytes for the fuzz tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import strategies as st

from schemas.bounds import MAX_TEXT
from schemas.errors import DeadLetter

T = TypeVar("T")

scalars = (
    st.none()
    | st.booleans()
    | st.sampled_from([0, -1, 1, 2**31, 2**63 - 1, -(2**63), 2**64 - 1])
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["", "\x00", "a\nb", "\u202e", "x" * 2_000, "9" * 400])
)
values = st.recursive(
    scalars | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2)
)


def paths(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a tree of lists and dicts."""
    steps = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [path, *(place for step, inner in steps for place in paths(inner, (*path, step)))]


def replaced(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy of the tree with another value at the place."""
    if not path:
        return value
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    copy[path[0]] = replaced(copy[path[0]], path[1:], value)
    return copy


def mutations(tree: Any, inserted: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """The tree with one to three places replaced."""

    def mutated(changes: list[tuple[int, Any]]) -> Any:
        changed = tree
        for number, value in changes:
            places = paths(changed)
            changed = replaced(changed, places[number % len(places)], value)
        return changed

    return st.lists(st.tuples(st.integers(0, 200), inserted), min_size=1, max_size=3).map(mutated)


def damaged(raw: bytes) -> st.SearchStrategy[bytes]:
    """The bytes cut short, or with a few of them overwritten."""

    def damage(cut: int, spots: list[tuple[int, int]]) -> bytes:
        out = bytearray(raw)
        for place, byte in spots:
            out[place % len(out)] = byte
        return bytes(out[: cut % (len(out) + 1)] if cut else out)

    spots = st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=4)
    return st.builds(damage, st.just(0) | st.integers(0, 1 << 16), spots)


def decoded_or_dead(decode: Callable[[bytes], T], raw: bytes) -> T | None:
    """What it decodes to, or None when it is refused as it should be."""
    try:
        return decode(raw)
    except DeadLetter as error:
        bounded = 0 < len(str(error)) <= MAX_TEXT + 200
        assert bounded, error  # noqa: PT017  # an error is allowed here, not expected
        return None
