"""Recorded logs fold to the same bytes for ever: a released engine version, row format or message never changes.

A digest that differs means that a rebuild of a production log would not give the versions that callers have seen. Do
not edit a digest; make a new engine version (tables.engines) or upcast (schemas.upcast), and record a log for it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import pytest

from schemas.codec import decode_fact, encode_fact
from tables.replay import LogReplay

HERE = Path(__file__).parent
RECORDED = {
    # Forty real photos in two albums, embedded with efficientnet-lite0@1, folded by leader-merge 1.
    "leader-merge-1.msgpack": (
        "618471c1b29876dd973439c4d2df7017d9b6a9b106b030d158ee56b324eb64a0",
        "d2754de1f2b8a2784ad8820d896d338dfbcd1fee1563dc4871fb72516a207387",
    ),
    # Made to hold what photos seldom do: merges of clusters, evictions, a forced job, a recluster under another policy.
    "leader-merge-1-merges.msgpack": (
        "41ca574e4aac762ab7d6d2d9de021a4c6a5033bce46022df4c1eb29c226f9842",
        "5ad2045e9e2ec8b1bcc0afe496c4ef075ed108560c3950520976275439958907",
    ),
    # The same forty photos, folded by mixture 1.
    "mixture-1.msgpack": (
        "fe830f615561cd86edf2e9d63143116a1e4d0a2ca5b28956c4760ac0171a6b29",
        "f4fa056ffed20ba462a78e43348f87dcbb53b5e178797920388eaf6b8b510a91",
    ),
    # Made to hold moves, merges, splits, near-duplicates, a recluster, and albums that come to leader-merge and back.
    "mixture-1-moves.msgpack": (
        "998fccf3417c71efafc47e45ff2acec7bdc9a56ce3670457653e1e579d8d914c",
        "60296b7fc519b35631b2fd2759a996ec485e94e24a282ad67816afc67c3bc3e3",
    ),
    # A random user's log (tests/decided_albums.py): every kind of decision, recomputes, removals and other models.
    "mixture-1-decisions.msgpack": (
        "e1d84d1643950ea6e74a34b6b08adbcd91fe89bc6b480f3c62d7d6a7901b6ba6",
        "7aa06b0a719077e378d1588aaeeede189a69902ce1d69f5f53528cb5fdfae2c0",
    ),
}
_QUALITY = 2
"""Place of the measured quality in an image's array."""


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
def test_images_of_recorded_logs_are_still_written_as_they_were(name: str) -> None:
    for _, _, _, value in msgspec.msgpack.decode((HERE / name).read_bytes(), type=list[tuple[int, int, bytes, bytes]]):
        envelope, fact = decode_fact(value)
        again = encode_fact(fact, event_id=envelope.event_id, time=envelope.time, pet_id=envelope.pet_id)
        written, before = (msgspec.msgpack.decode(raw)["data"].get("images", []) for raw in (again, value))
        for image, old in zip(written, before, strict=True):
            image[_QUALITY] = image[_QUALITY][: len(old[_QUALITY])]  # later releases measure more
        assert written == before


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_logs_fold_to_the_recorded_digests(name: str) -> None:
    assert digests(HERE / name) == RECORDED[name]
