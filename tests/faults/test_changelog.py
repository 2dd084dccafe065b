"""What the audit recovers from a changelog, and what it notices there."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from tables.rows import Delivery, Head, Pending, PetState, Segment, encode, head_key, row_key
from tests.faults.changelog import recover


def put(key: bytes, value: bytes | None, offset: int) -> Any:
    return SimpleNamespace(key=key, value=value, partition=0, offset=offset)


def head(last_offset: int, version: int = 1, pending: int = 0) -> bytes:
    state = PetState(
        version, last_offset, -1, 0, 0, 0, 0, 0, [], -1, {}, None, {}, {}, [], [], Segment()
    )  # fmt: skip
    return encode(Head(state, Delivery([Pending(pending, "c")], [])))


def test_the_last_record_of_a_key_stands_and_a_tombstone_deletes() -> None:
    row, other = row_key("rex", "c", 1), row_key("rex", "c", 2)
    found = recover([put(row, b"1", 0), put(other, b"2", 1), put(row, None, 2), put(b"/partition", b"p", 3)])
    assert found.rows == {other: b"2"}
    assert (found.went_back, found.rewritten) == ([], [])


def test_a_head_that_goes_back_is_ignored_and_noticed() -> None:
    key = head_key("rex")
    found = recover([put(key, head(5), 0), put(key, head(3), 1), put(key, head(4), 2)])
    assert found.rows == {key: head(5)}
    assert len(found.went_back) == 2


def test_a_head_may_be_repeated_with_another_delivery_but_not_with_another_state() -> None:
    key = head_key("rex")
    assert recover([put(key, head(5, pending=1), 0), put(key, head(5, pending=2), 1)]).rewritten == []
    assert len(recover([put(key, head(5), 0), put(key, head(5, version=2), 1)]).rewritten) == 1


def test_a_row_with_two_contents_is_noticed() -> None:
    row = row_key("rex", "i", 1)
    assert recover([put(row, b"1", 0), put(row, b"1", 1)]).rewritten == []
    assert len(recover([put(row, b"1", 0), put(row, b"2", 1)]).rewritten) == 1
