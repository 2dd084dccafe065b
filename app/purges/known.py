"""Whether anything is known of a pet that is to be purged: a purge of a mistyped id destroys nothing and looks as if it
had. Called by `app.purges.console`.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

from app.purges.pet_topics import PetTopics, pet_topics
from app.settings import Settings
from projections.away import POSTGRES_ERRORS
from projections.purges import PurgeRecords
from schemas.errors import DeadLetter
from schemas.pet_keys import decode_key


async def is_known(settings: Settings, pool: Any, pet_id: str) -> bool:
    """Whether Postgres has a row of the pet, or Kafka a key or a command. True while Postgres cannot be asked.

    Postgres answers at once, and is asked first; the topics know what is not projected yet. Raises KafkaError.
    """
    try:
        if await PurgeRecords(pool).knows(pet_id):
            return True
    except POSTGRES_ERRORS:
        return True  # a purge needs no Postgres, and one too many does no harm
    topics, names = await pet_topics(settings, pet_id), settings.topics()
    return await _has_key(topics, names.pet_keys.name, pet_id) or await _has_command(topics, names.jobs.name, pet_id)


async def _has_key(topics: PetTopics, topic: str, pet_id: str) -> bool:
    """Every pet with a sealed fact has a key, for ever. A key that nobody can read may be the pet's."""
    async with aclosing(topics.records(topic)) as records:
        async for record in records:
            try:
                if decode_key(record.value or b"").pet_id == pet_id:
                    return True
            except DeadLetter:
                return True
    return False


async def _has_command(topics: PetTopics, topic: str, pet_id: str) -> bool:
    """A command of the last days, of which embed may not have come to yet."""
    async with aclosing(topics.records(topic)) as records:
        async for record in records:
            if record.key == pet_id.encode():
                return True
    return False
