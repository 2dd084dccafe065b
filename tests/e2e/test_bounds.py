"""Hostile input neither kills a role nor makes it grow beyond the bounds of docs/operations/bounds.md."""

from __future__ import annotations

import asyncio
import json
import shutil
import struct
import zlib
from pathlib import Path
from typing import Any, Final

import aiohttp
from PIL import Image

from app.local.ports import HOST
from app.roles.embed import IN_FLIGHT_PIXELS
from bridges.stream import BATCH_BYTES
from tests.e2e.conftest import album_ids
from tests.e2e.service import ROLES, TOKEN, Service

MIB: Final = 2**20
PIXEL_BYTES: Final = 8
GROWTH_MIB: Final = {
    "embed": IN_FLIGHT_PIXELS * PIXEL_BYTES // MIB + 150,
    "bridge": 4 * BATCH_BYTES // MIB + 50,
    "web": 50,
    "fold": 50,
    "project": 50,
}
"""By how much the input below may raise a role's peak memory: the document's bounds, with room for the allocator."""
DEEP: Final = "[" * 100_000 + "]" * 100_000
LARGE_SIDE: Final = 7_000
LARGE: Final = 6
ENTRIES: Final = 12
ENTRY_BYTES: Final = 10 * MIB


async def test_hostile_input_neither_kills_nor_swells_a_role(stopped_service: Service, album: Path, pet: str) -> None:
    service = stopped_service
    service.images = service.root / "images"
    shutil.copytree(album, service.images)
    _write_hostile_images(service.images)
    service.start()
    service.publish(pet, "warm-up", album_ids())
    assert (await service.job("warm-up"))["status"] == "succeeded"
    processes = dict(service.processes)
    before = {role: _peak_mib(processes[role].pid) for role in ROLES}

    for _ in range(ENTRIES):
        service.add_entry({"payload": '{"pet_id": "' + "x" * ENTRY_BYTES + '"}'})
    service.add_entry({"payload": DEEP})
    service.add_entry({"payload": f'{{"pet_id": "{pet}", "payload": {{"metadata": {DEEP}}}}}'})
    assert await _post(service, b'{"pet_id": "' + b"x" * ENTRY_BYTES + b'"}') == 413
    assert await _post(service, DEEP.encode()) == 400
    large = [f"large-{number}" for number in range(LARGE)]
    service.publish(pet, "large", [*large, "bomb", "60mb", "astronaut-0"])
    job = await service.job("large", within=180)

    failed = {image["image_id"]: image["kind"] for image in job["failed_images"]}
    assert failed == {"bomb": "too_many_pixels", "60mb": "too_large"}
    assert job["status"] == "succeeded"
    assert (job["placed"], job["known"]) == (LARGE, 1)
    assert service.redis.xlen(service.dead_stream) == ENTRIES + 2
    assert {role: process.poll() for role, process in processes.items()} == dict.fromkeys(ROLES)
    growth = {role: _peak_mib(processes[role].pid) - before[role] for role in ROLES}
    print(f"peak MiB before {before}, growth {growth}")
    assert {role: grown for role, grown in growth.items() if grown > GROWTH_MIB[role]} == {}


def _write_hostile_images(folder: Path) -> None:
    Image.new("RGBA", (LARGE_SIDE, LARGE_SIDE), (200, 120, 40, 200)).save(folder / "large-0.jpg", "PNG")
    for number in range(1, LARGE):
        shutil.copy(folder / "large-0.jpg", folder / f"large-{number}.jpg")
    (folder / "bomb.jpg").write_bytes(_png(30_000, 30_000))
    with (folder / "60mb.jpg").open("wb") as file:
        file.write(b"\xff\xd8\xff\xe0")
        file.truncate(60 * MIB)


def _png(width: int, height: int) -> bytes:
    """A few kilobytes that say they are a picture of any size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(bytes(MIB))), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, body) for kind, body in chunks)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _peak_mib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) // 1024


async def _post(service: Service, body: bytes) -> int:
    headers: dict[str, Any] = {"X-Internal-Token": TOKEN, "Content-Type": "application/json"}
    url = f"http://{HOST}:{service.web_port}/internal/cluster-jobs"
    async with aiohttp.ClientSession(headers=headers) as session, session.post(url, data=body) as response:
        json.loads(await asyncio.wait_for(response.read(), 10))
        return response.status
