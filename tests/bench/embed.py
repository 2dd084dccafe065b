"""Benchmark `embed`: how many photos a second this machine's CPU embeds and decodes, each alone and side by side.

The default model on onnxruntime's CPU provider, with a thread a core as in the service.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
from PIL import Image
from rich.console import Console

from agents.embedder.default_model import default_model
from agents.embedder.session import OnnxSession
from agents.images.decode import decode
from agents.images.phash import phash
from agents.images.quality import measure
from tests.bench.report import Cell, Report
from tests.e2e.service import REPOSITORY
from tests.photos import SKIMAGE, SKLEARN, encoded, photo

BATCHES: Final = (1, 8, 16)
SECONDS: Final = 1.0
ROUNDS: Final = 3
PHONE: Final = (4032, 3024)
SMALL: Final = (640, 480)
_SIDE: Final = 224
_MAX_PIXELS: Final = 50_000_000

Work = Callable[[], int]
"""Does a little and returns how many photos that were."""


def run(console: Console) -> list[Report]:
    """Take turns, so that every figure sees the same machine, and report each one's best round."""
    session = OnnxSession(default_model(REPOSITORY / ".local" / "bench-models"), device="cpu")
    alone: dict[str, Work] = {f"embed, batch {size}": _embedding(session, size) for size in BATCHES}
    files = {"640 × 480": _files(SMALL), "12 megapixels": _files(PHONE)}
    alone |= {f"decode, {name}": _decoding(datas) for name, datas in files.items()}
    alone |= {f"decode, quality and hash, {name}": _measuring(datas) for name, datas in files.items()}
    best: dict[str, float] = dict.fromkeys(alone, 0.0)
    pairs: dict[str, tuple[float, float]] = {}
    with console.status("embedding and decoding"):
        for _ in range(ROUNDS):
            for name, work in alone.items():
                best[name] = max(best[name], _rate(work))
            for name, datas in files.items():
                both = _side_by_side(_embedding(session, BATCHES[-1]), _measuring(datas))
                pairs[name] = max(pairs.get(name, both), both, key=sum)
    rows: list[tuple[Cell, ...]] = [(name, rate, 1000 / rate) for name, rate in best.items()]
    for name, (embeds, decodes) in pairs.items():
        rows.append((f"side by side, {name}: embed, batch {BATCHES[-1]}", embeds, 1000 / embeds))
        rows.append((f"side by side, {name}: decode, quality and hash", decodes, 1000 / decodes))
    notes = (
        f"best of {ROUNDS} rounds of {SECONDS:.0f} s; {session.model_id} on {session.device}, a thread a core",
        "decoding: one thread; JPEGs of the bundled photographs, enlarged for 12 megapixels",
    )
    return [Report("embed: photos a second", ("", "photos/s", "ms/photo"), tuple(rows), notes)]


def _files(size: tuple[int, int]) -> list[bytes]:
    pictures = [photo(name).resize(size, Image.Resampling.BICUBIC) for name in SKIMAGE + SKLEARN]
    return [encoded(picture, quality=88) for picture in pictures]


def _embedding(session: OnnxSession, size: int) -> Work:
    pictures = [np.asarray(photo(name).resize((_SIDE, _SIDE))) for name in SKIMAGE + SKLEARN]
    batch = np.stack([pictures[n % len(pictures)] for n in range(size)])
    return lambda: len(session.embed(batch))


def _decoding(datas: list[bytes]) -> Work:
    def work() -> int:
        for data in datas:
            decode(data, size=_SIDE, max_pixels=_MAX_PIXELS)
        return len(datas)

    return work


def _measuring(datas: list[bytes]) -> Work:
    def work() -> int:
        for data in datas:
            decoded = decode(data, size=_SIDE, max_pixels=_MAX_PIXELS)
            measure(decoded.gray, width=decoded.width, height=decoded.height)
            phash(decoded.gray)
        return len(datas)

    return work


def _rate(work: Work, seconds: float = SECONDS) -> float:
    """Photos a second; the first call is not counted."""
    work()
    done, started = 0, time.perf_counter()
    while (took := time.perf_counter() - started) < seconds:
        done += work()
    return done / took


def _side_by_side(embed: Work, decode_work: Work) -> tuple[float, float]:
    """Photos a second of both while both run."""
    with ThreadPoolExecutor(2) as threads:
        embedding, decoding = threads.submit(_rate, embed), threads.submit(_rate, decode_work)
        return embedding.result(), decoding.result()
