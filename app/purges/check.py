"""Looks everywhere for what a purge has left of a pet. Called by `app.purges.console`.

The log says what the last purge was; all that is of before it should be gone, or sealed under a key that nobody has.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from app.faust_apps import changelog_topic
from app.fold_generations import read_standing
from app.purges.finding import Finding, Purge
from app.purges.look_into_log import look_into_log, read_keys
from app.purges.look_into_state import look_into_state
from app.purges.look_into_stores import look_into_postgres, look_into_redis, projected
from app.purges.look_into_topics import (
    look_into_changelogs,
    look_into_retained,
    look_into_snapshot,
    sorted_findings,
)
from app.purges.pet_topics import PetTopics, pet_topics
from app.settings import Settings


@dataclass
class Checked:
    """What was found. `purge`: None when the log tells of none. `clean`: nothing is left that should not be."""

    purge: Purge | None
    findings: list[Finding] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether a purge was carried out and nothing is left."""
        return self.purge is not None and all(each.verdict != "left" for each in self.findings)


async def check(settings: Settings, pool: Any, redis: Any, pet_id: str) -> Checked:
    """Look into the log and its keys, the other topics, Postgres, Redis and the table files of this machine.

    Raises KafkaError, Redis's and Postgres's errors while one of them is away: what was not looked into is not clean.
    """
    topics, names = await pet_topics(settings, pet_id), settings.topics()
    keys = await read_keys(topics, names, pet_id)
    purge, found = await look_into_log(topics, names, pet_id, keys)
    if purge is None:
        return Checked(None)
    known = await projected(pool, purge)
    if known is None:
        found.append(Finding(place="Postgres pet_purges", verdict="left", what="the purge is not projected yet"))
    else:
        purge = known
        found += [each async for each in look_into_postgres(pool, purge)]
    found += await _of_topics(settings, topics, purge)
    found += [each async for each in look_into_redis(redis, settings, purge)]
    found += look_into_state(settings.data_dir, purge)
    return Checked(purge, list(sorted_findings(found)))


async def _of_topics(settings: Settings, topics: PetTopics, purge: Purge) -> list[Finding]:
    names, found = settings.topics(), []
    standing = await read_standing(settings)
    made = standing.under_way.generation if standing.under_way else 0
    # A generation that is kept for a rollback, or is being built, holds rows as the live one does.
    generations = sorted({standing.live.generation, standing.kept, made} - {0})
    folds = [changelog_topic(settings, "fold", generation) for generation in generations]
    found += [each async for each in look_into_changelogs(topics, folds, changelog_topic(settings, "embed"), purge)]
    found += [each async for each in look_into_snapshot(topics, names, purge)]
    found += [each async for each in look_into_retained(topics, names, purge)]
    return found
