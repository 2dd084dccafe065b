"""Recorded logs fold to the same bytes for ever: a released engine version, row format or message never changes.

A digest that differs means that a rebuild of a production log would not give the versions that callers have seen. Do
not edit a digest; make a new engine version (tables.engines) or upcast (schemas.upcast), and record a log for it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import pytest

from tables.replay import LogReplay

HERE = Path(__file__).parent
RECORDED = {
    # Forty real photos in two albums, embedded with efficientnet-lite0@1, folded by leader-merge 1.
    "leader-merge-1.msgpack": (
        "2e89283946ba92314c9e4a6118b52ad79f9de9ec9e7dc8143e8e146e70aef580",
        "cbd598393f2f435e00faac3ee01b4e4996307c5e406f7b19c6f9f2035bf7ab70",
    ),
    # Made to hold what photos seldom do: merges of clusters, evictions, a forced job, a recluster under another policy.
    "leader-merge-1-merges.msgpack": (
        "879a16ea1b19147ed66382a2cdfa5bc49e981ef0c150f1f715aaa83c1219a9e4",
        "9322ec06da6bf3c61f147b4a81582782d41a709f5172f5a4c18fc99314746ff9",
    ),
}


def digests(file: Path) -> tuple[str, str]:
    """Digests of the final state and of all messages sent on the way."""
    records = msgspec.msgpack.decode(file.read_bytes(), type=list[tuple[int, int, bytes, bytes]])
    replays = {partition: LogReplay(partition) for partition, *_ in records}
    sent = hashlib.sha256()
    for partition, offset, key, value in records:
        sent.update(msgspec.msgpack.encode(replays[partition].apply(offset, key, value)))
    state = hashlib.sha256("".join(replays[p].digest() for p in sorted(replays)).encode())
    return state.hexdigest(), sent.hexdigest()


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_logs_fold_to_the_recorded_digests(name: str) -> None:
    assert digests(HERE / name) == RECORDED[name]
