"""A pet is purged on the running service: nothing is left, what was accepted before is ignored, its numbers go on."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any

import msgspec
from aiokafka import ConsumerRecord

from tests.e2e.audit import fold_offline
from tests.e2e.kafka_log import read_log, read_topic
from tests.e2e.service import REPOSITORY, Service, image_ids_of
from tests.integration.projections.samples import eventually


async def purge(service: Service, pet: str) -> dict[str, Any]:
    """Ask for it over HTTP; the receipt."""
    status, answer = await service._call("POST", f"/internal/pets/{pet}/purge", {"why": "asked for by its owner"})
    assert status == 202, answer
    path = f"/internal/pets/{pet}/purges/{answer['data']['purge_id']}"

    async def receipt() -> dict[str, Any] | None:
        status, answer = await service.get(path)
        done = status == 200 and answer["data"]["status"] == "purged" and answer["data"]["cache_removed_at"]
        return dict(answer["data"]) if done else None

    found: dict[str, Any] = await eventually(receipt)
    return found


async def run(service: Service, *argv: str) -> tuple[int, list[Any]]:
    """A command's exit code and its lines of JSON."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app", *argv, "--json"),
        env=service.env("prepare"),
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, [json.loads(line) for line in out.splitlines()]


async def rename(service: Service, pet: str, cluster: str, name: str, version: int) -> int:
    """Decide over HTTP; the version that it made."""
    body = {"kind": "rename", "arguments": {"cluster": cluster, "name": name}, "expected_version": version}
    status, answer = await service._call("POST", f"/internal/pets/{pet}/decisions", body | {"who": "ann", "why": "so"})
    assert status == 201, answer
    made: int = answer["data"]["version"]
    service.has_version(pet, made)
    return made


async def in_log(service: Service, pet: str) -> list[ConsumerRecord]:
    """The pet's records as they stand there."""
    log = await read_topic(service.bootstrap_servers, service.topics.pet_log.name)
    return [record for record in log if record.key == pet.encode()]


async def test_a_purged_pet_is_gone_everywhere_and_begins_anew(service: Service, pet: str) -> None:
    first, again = (f"{pet}-{name}" for name in ("first", "again"))
    service.publish(pet, first, ["coffee-0", "coffee-1", "chelsea-0", "chelsea-1"])
    await service.job(first)
    before = await service.clusters(pet)
    assert len(before["clusters"]) == 2

    receipt = await purge(service, pet)
    assert receipt["last_version"] == before["version"]
    assert receipt["removed"]["postgres"]["cluster_members"] >= 4
    assert (await service.get(f"/internal/pets/{pet}/clusters"))[0] == 404
    assert (await service.get(f"/internal/jobs/{first}"))[0] == 404

    # A job that was enqueued before comes late: it is ignored. One that is enqueued now is not, with the same photos.
    service.publish(pet, f"{pet}-late", ["rocket-0"])
    await service.submit(pet, again, ["coffee-0", "coffee-1", "coffee-2"])
    job = await service.job(again)
    assert (job["version"], job["placed"]) == (before["version"] + 1, 3)
    answer = await service.clusters(pet)
    assert image_ids_of(answer) == {"coffee-0", "coffee-1", "coffee-2"}
    numbers = {cluster["id"] for cluster in [*before["clusters"], *answer["clusters"]]}
    assert len(numbers) == 3, "no cluster's number is given again"
    assert (await service.get(f"/internal/jobs/{pet}-late"))[0] == 404

    code, lines = await run(service, "purge", "--check", pet)
    assert code == 0, lines
    code, lines = await run(service, "verify", "--pet", pet, "--processes", "1")
    assert code == 0, lines


async def test_the_log_of_a_purged_pet_is_unreadable_and_folds_to_the_same_numbers(service: Service, pet: str) -> None:
    service.publish(pet, f"{pet}-first", ["coffee-3", "coffee-4", "rocket-3"])
    await service.job(f"{pet}-first")
    first = await service.clusters(pet)
    last = await rename(service, pet, first["clusters"][0]["id"], "Rex", first["version"])
    await purge(service, pet)
    await service.submit(pet, f"{pet}-again", ["coffee-3", "coffee-4"])
    await service.job(f"{pet}-again")

    log = await read_log(service.bootstrap_servers, service.topics)
    mine = [record for record in log if record.key == pet.encode()]
    sealed, decided, *rest = mine
    assert b"coffee-3" not in sealed.value
    assert [word in decided.value for word in (b"DecisionSubmitted", b"Rex", b"ann")] == [True, False, False]
    assert b"coffee-3" in rest[-1].value, "the new key opens what came since"
    folded = fold_offline(log).store.pet(pet)
    assert (folded.version, folded.image_count) == (last + 1, 2)
    public = await read_topic(service.bootstrap_servers, service.topics.clusters_updated.name)
    values = [record.value for record in public if record.key == pet.encode()]
    assert None in values, "a tombstone tells other teams"
    assert json.loads(values[-1])["version"] == last + 1

    now = await service.clusters(pet)
    await rename(service, pet, now["clusters"][0]["id"], "Bello", now["version"])
    mine = [each for each in await read_log(service.bootstrap_servers, service.topics) if each.key == pet.encode()]
    assert b"Bello" in mine[-1].value, "the key of what came since opens what is decided since"
    keys = {msgspec.msgpack.decode(each.value)["key_id"] for each in await in_log(service, pet)}
    assert len(keys) == 3, "a key before, a key since, and the purge has none"
