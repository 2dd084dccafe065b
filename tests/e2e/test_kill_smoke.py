"""A smoke of kill -9: each role dies in mid-stream, and nothing is lost and nothing counts twice."""

from __future__ import annotations

import asyncio
import shutil
import signal

import pytest

from tests.e2e.audit import audit
from tests.e2e.conftest import album_ids
from tests.e2e.service import ROLES, Service

PETS = ("rex", "mia", "tom")
JOBS_A_PET = 12


def images_of(number: int) -> list[str]:
    """The images of a pet's job `number`."""
    return album_ids()[number * 4 : number * 4 + 4]


def published(service: Service, pet: str, number: int) -> list[str]:
    """Publish a pet's job `number`; returns its images."""
    images = images_of(number)
    service.publish(pet, f"{pet}-{number}", images)
    return images


@pytest.mark.parametrize("wiped", [False, True], ids=["state kept", "state folder lost"])
async def test_kill_each_role_in_mid_stream(stopped_service: Service, wiped: bool) -> None:
    """Two of three jobs come by the Redis Stream, one by HTTP, where the caller repeats what was not accepted."""
    service = stopped_service
    service.start()
    accepted: dict[str, dict[str, list[str]]] = {pet: {} for pet in PETS}
    posts: list[asyncio.Task[int]] = []
    victims = iter(ROLES * 2)
    for number in range(JOBS_A_PET):
        for place, pet in enumerate(PETS):
            accepted[pet][f"{pet}-{number}"] = images_of(number)
            if (number + place) % 3 == 0:
                posts.append(asyncio.create_task(service.submit(pet, f"{pet}-{number}", images_of(number))))
            else:
                published(service, pet, number)
        if number % 2 == 1 and (role := next(victims, None)):
            await asyncio.sleep(0.05)  # let the jobs spread over the roles, then kill whatever is under way
            service.kill(role)
            if wiped and role in ("fold", "embed"):
                shutil.rmtree(service.root / "state" / f"{role}-1")
            service.spawn(role)
    assert max(await asyncio.gather(*posts)) > 1, "the death of web was met by no caller"
    for pet, jobs in accepted.items():
        for job in jobs:
            assert (await service.job(job, within=120))["status"] == "succeeded", f"{pet} {job}"
    await audit(service, accepted)


async def test_a_zombie_worker_ends_itself_and_writes_nothing(stopped_service: Service) -> None:
    """A fold that is stopped for longer than its session, while another takes its partitions."""
    service = stopped_service
    service.start()
    accepted = {"rex": {f"rex-{n}": published(service, "rex", n) for n in range(4)}}
    for job in accepted["rex"]:
        await service.job(job)
    zombie = service.processes.pop("fold")
    for number in range(4, 8):
        accepted["rex"][f"rex-{number}"] = published(service, "rex", number)
    zombie.send_signal(signal.SIGSTOP)
    other = Service(
        service.root / "other",
        service.bootstrap_servers,
        service.redis_url,
        service.database_url,
        service.images,
        {"WORKER_ID": "2"},
        service.name,
    )
    try:
        other.start("fold")
        for job in accepted["rex"]:
            assert (await service.job(job, within=120))["status"] == "succeeded"
        zombie.send_signal(signal.SIGCONT)
        assert await asyncio.to_thread(zombie.wait, 30) == 70, "the lease ends the process"
        for number in range(8, 12):
            accepted["rex"][f"rex-{number}"] = published(service, "rex", number)
            await service.job(f"rex-{number}", within=120)
        await audit(service, accepted)
    finally:
        zombie.kill()
        other.close()
