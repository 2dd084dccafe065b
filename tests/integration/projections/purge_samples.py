"""What a purge leaves behind it and what comes late, for the tests about purges."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from projections.decisions import record_decision
from projections.erasure import erase_pet, record_requests
from projections.jobs import RecordedCommand, record_commands, record_statuses
from projections.pins import add_pin
from projections.postgres import apply_version
from schemas.commands import EmbedImages, PurgePet
from schemas.decisions import DecisionSettled
from schemas.headers import timestamp
from schemas.public import JobStatus
from schemas.versions import PetErased, PetVersion
from tests.integration.projections.letters import action_on, letter, write
from tests.integration.projections.samples import START, Album, settled

PET = "101"
OTHER = "202"
ACCEPTED = START + timedelta(seconds=500)
PURGED = START + timedelta(seconds=510)
EMPTY = {
    "pet_clusters": 0, "cluster_members": 0, "cluster_heroes": 0, "cluster_summaries": 0, "cluster_snapshots": 0,
    "cluster_jobs": 0, "cluster_job_commands": 0, "pinned_versions": 0, "dead_letters": 0, "dead_letter_actions": 0,
    "pet_decisions": 0,
}  # fmt: skip


def at(seconds: float) -> str:
    """A time of the tests: the purge is accepted at 500 and carried out at 510."""
    return timestamp(START + timedelta(seconds=seconds))


def asked(purge_id: str = "purge-1", **more: Any) -> PurgePet:
    """The command."""
    values = {"pet_id": PET, "accepted_at": timestamp(ACCEPTED), "who": "ann", "why": "asked by the owner", **more}
    return PurgePet(purge_id=purge_id, **values)


def erased(version: int, purge_id: str = "purge-1", **more: Any) -> PetErased:
    """The fold's word that it is done."""
    values: dict[str, Any] = {
        "pet_id": PET, "time": timestamp(PURGED), "partition": 0, "offset": 77, "who": "ann",
        "accepted_until": timestamp(ACCEPTED), "why": "asked by the owner", **more,
    }  # fmt: skip
    return PetErased(purge_id=purge_id, version=version, **values)


def command(job_id: str = "job_1", seconds: float = 100, pet_id: str = PET, **more: Any) -> EmbedImages:
    """A command that was accepted at a time of the tests."""
    return EmbedImages(pet_id=pet_id, job_id=job_id, image_ids=("a", "b"), enqueued_at=at(seconds), **more)


def status(job_id: str = "job_1", state: Any = "succeeded", seconds: float = 101, **more: Any) -> JobStatus:
    """A state told at a time of the tests."""
    return JobStatus(**{"pet_id": PET, "job_id": job_id, "status": state, "at": at(seconds), **more})


async def project(
    pool: Any, *messages: PetVersion | PetErased | DecisionSettled | EmbedImages | JobStatus | PurgePet
) -> list[Any]:
    """Write each as the projector does, in a transaction of its own; what became of versions and decisions."""
    outcomes: list[Any] = []
    for message in messages:
        async with pool.acquire() as connection, connection.transaction():
            if isinstance(message, PetVersion):
                outcomes.append(await apply_version(connection, message))
            elif isinstance(message, PetErased):
                await erase_pet(connection, message)
            elif isinstance(message, DecisionSettled):
                outcomes.append(await record_decision(connection, message))
            elif isinstance(message, EmbedImages):
                await record_commands(connection, [RecordedCommand(message, datetime.fromisoformat(at(0)), 0, 1)])
            elif isinstance(message, PurgePet):
                await record_requests(connection, [message])
            else:
                await record_statuses(connection, [message])
    return outcomes


async def fill(pool: Any, pet_id: str = PET, versions: int = 65) -> Album:
    """Rows of the pet in every table, snapshots and pins among them."""
    album = Album(pet_id, seed=7)
    await project(pool, *(album.draw() for _ in range(versions)))
    await project(pool, command(pet_id=pet_id), status(pet_id=pet_id), command("job_2", 200, pet_id))
    undone = settled(pet_id, "d-2", versions, "undo", undoes="d-1", offset=2)
    await project(pool, settled(pet_id, "d-1", 3, offset=1), undone)
    names = [f"{pet_id}-{number}" for number in range(3)]
    await write(pool, *(letter(name, pet_id=pet_id) for name in names))
    await write(pool, action_on("requeue", *names, pet_id=pet_id))
    await add_pin(pool, pet_id, 2, who="ann", why="a reason")
    return album


async def counts(pool: Any, pet_id: str = PET) -> dict[str, int]:
    """The pet's rows by table, commands through their jobs."""
    found = {}
    for table in EMPTY:
        where = "pet_id = $1"
        if table == "cluster_job_commands":
            where = "command->>'pet_id' = $1"
        found[table] = await pool.fetchval(f"SELECT count(*) FROM {table} WHERE {where}", pet_id)
    return found
