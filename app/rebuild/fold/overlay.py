"""Rows over rows: changes that are not yet in the rows below. Used by `build.py` and `compare.py`."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping


class Overlay(MutableMapping[bytes, bytes]):
    """`changes`: row key → the row, None for one that is gone. `size`: bytes of the changed rows."""

    def __init__(self, below: MutableMapping[bytes, bytes]) -> None:
        self._below = below
        self.changes: dict[bytes, bytes | None] = {}
        self.size = 0

    def clear(self) -> None:
        """Forget the changes: they are in the rows below now, or are not wanted."""
        self.changes = {}
        self.size = 0

    def __getitem__(self, key: bytes) -> bytes:
        if key in self.changes:
            value = self.changes[key]
            if value is None:
                raise KeyError(key)
            return value
        return self._below[key]

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self.changes[key] = value
        self.size += len(value)

    def __delitem__(self, key: bytes) -> None:
        self[key]  # raises KeyError as a dict does
        self.changes[key] = None

    def __iter__(self) -> Iterator[bytes]:
        yield from (key for key, value in self.changes.items() if value is not None)
        yield from (key for key in self._below if key not in self.changes)

    def __len__(self) -> int:
        return sum(1 for _ in self)
