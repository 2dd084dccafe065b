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
        "2463f6e4f7ef1709c9332672dee5d7b778f136b2ae89320bb69323bdc7a11607",
        "2efd546a5439e67e856f03ca23c8703287d5ddb03cec47d85e6e59a248a7639f",
    ),
    # Made to hold what photos seldom do: merges of clusters, evictions, a forced job, a recluster under another policy.
    "leader-merge-1-merges.msgpack": (
        "98df6511045f4ee2411ef110a5695fd279ab374f0a6a72c8196655b70f92c163",
        "75cb7ea8affd1af085eb84b95b8fd8e4e71d95bf1611cafbe74759f7c3822198",
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
