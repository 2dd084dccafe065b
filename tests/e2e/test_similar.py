"""The search across pets on the running service: real vectors, sealed in the log, indexed by the role `project`."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from typing import Any

from app.local.ports import HOST
from tests.e2e.service import REPOSITORY, Service, image_ids_of
from tests.e2e.test_purge import purge, run
from tests.integration.projections.samples import eventually

OWN, ALIKE = ["motorcycle_left-7", "motorcycle_left-8"], ["motorcycle_left-5", "motorcycle_left-6"]
"""Of a thing that other tests' pets, whose photos stand in the same index, do not have."""
OTHER = ["rocket-5", "rocket-6"]


async def similar(service: Service, path: str) -> dict[str, Any] | None:
    """What is near, once it is indexed."""
    status, answer = await service.get(path)
    return dict(answer["data"]) if status == 200 else None


async def test_photos_of_the_same_thing_are_found_in_another_pets_album_until_that_is_purged(
    service: Service, pet: str
) -> None:
    twin, stranger = f"{pet}-twin", f"{pet}-stranger"
    for name, images in ((pet, OWN), (twin, ALIKE), (stranger, OTHER)):
        service.publish(name, f"{name}-job", images)
        await service.job(f"{name}-job")
    cluster = (await service.clusters(pet))["clusters"][0]["id"]
    path = f"/internal/pets/{pet}/clusters/{cluster}/similar?limit=100"

    def of(found: dict[str, Any], kind: str) -> dict[str, float]:
        return {each["pet_id"]: each["cosine"] for each in found[kind] if each["pet_id"] in (twin, stranger)}

    async def indexed() -> dict[str, Any] | None:
        found = await similar(service, path)
        return found if found and twin in of(found, "photos") and twin in of(found, "clusters") else None

    found = await eventually(indexed)
    for kind in ("photos", "clusters"):
        near = of(found, kind)
        assert near[twin] > 0.8 > near.get(stranger, 0.0), kind
        assert pet not in {each["pet_id"] for each in found[kind]}
    photos = (await service.get(f"/internal/pets/{pet}/images/{OWN[0]}/similar?kinds=photos&min_cosine=0.8"))[1]
    assert set(ALIKE) <= {each["image_id"] for each in photos["data"]["photos"] if each["pet_id"] == twin}
    assert image_ids_of(await service.clusters(twin)) == set(ALIKE)

    receipt = await purge(service, twin)
    assert receipt["removed"]["postgres"]["similar_photos_1"] == 2
    left = await similar(service, path)
    assert left is not None
    assert twin not in {*of(left, "photos"), *of(left, "clusters")}
    code, lines = await run(service, "purge", "--check", twin)
    assert code == 0, lines


def test_the_index_tells_how_it_stands(service: Service) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "app", "similar", "status"],
        env=service.env("prepare"), cwd=REPOSITORY, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "efficientnet-lite0@1" in done.stdout
    with urllib.request.urlopen(f"http://{HOST}:{service.ports['project']}/metrics", timeout=10) as answer:
        metrics = answer.read().decode()
    written = [line for line in metrics.splitlines() if line.startswith("media_cluster_similar_photos_indexed_total")]
    assert written
    assert float(written[0].split()[-1]) > 0
    assert "media_cluster_similar_lag" in metrics
