"""Every fault by its name, with its lane and how long it lasts. Used by run.py and the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tests.e2e.service import ROLES
from tests.faults.families.broker import BrokerKill, BrokerRestart
from tests.faults.families.clocks import ClockStep
from tests.faults.families.image_storage import MOODS, StorageAway, StorageMood
from tests.faults.families.postgres_server import PostgresDisconnect, PostgresKill, PostgresRestart
from tests.faults.families.redis_server import RedisFlush, RedisFreeze, RedisKill, RedisStop
from tests.faults.families.state_folder import DiskFull, StateLost
from tests.faults.families.workers import Kill, KillInFlight, SecondWorker, Term
from tests.faults.families.zombies import Zombie
from tests.faults.fault import Fault, Named
from tests.faults.schedule import Kind
from tests.faults.stack import SESSION_SECONDS
from tests.faults.supervised import SECOND_WORKERS

FAUST_ROLES: Final = ("embed", "fold")
BROKER_REST: Final = 15.0
"""Its start takes seconds, and all workers end themselves meanwhile: their lease runs out."""


def _of_server(make: type[Fault], lane: str, shortest: float, longest: float, rest: float = 2.0) -> Named:
    return Named(Kind(make.family, lane, shortest, longest, rest), make, lane)


def _of_role(make: type[Fault], role: str, shortest: float, longest: float) -> Named:
    return Named(Kind(f"{make.family}_{role}", role, shortest, longest), make, role)


_ALL: Final = [
    *(_of_role(Kill, role, 0.0, 0.0) for role in ROLES),
    *(_of_role(KillInFlight, role, 0.0, 0.0) for role in ("bridge", "embed", "fold")),
    *(_of_role(Term, role, 0.0, 0.0) for role in ROLES),
    *(_of_role(Zombie, role, SESSION_SECONDS + 4.0, SESSION_SECONDS + 7.0) for role in FAUST_ROLES),
    *(_of_role(SecondWorker, role, 5.0, 9.0) for role in SECOND_WORKERS),
    *(_of_role(StateLost, role, 0.2, 2.0) for role in FAUST_ROLES),
    *(_of_role(DiskFull, role, 2.0, 5.0) for role in FAUST_ROLES),
    _of_server(BrokerKill, "kafka", 0.5, 3.0, BROKER_REST),
    _of_server(BrokerRestart, "kafka", 0.5, 3.0, BROKER_REST),
    _of_server(RedisStop, "redis", 5.0, 6.0),
    _of_server(RedisKill, "redis", 0.2, 3.0),
    _of_server(RedisFreeze, "redis", 2.0, 6.0),
    _of_server(RedisFlush, "redis", 0.0, 0.0),
    _of_server(PostgresKill, "postgres", 0.2, 3.0),
    _of_server(PostgresRestart, "postgres", 0.2, 3.0),
    _of_server(PostgresDisconnect, "postgres", 0.0, 0.0),
    *(Named(Kind(f"storage_{mood}", "storage", 2.0, 6.0), StorageMood, mood) for mood in MOODS),
    _of_server(StorageAway, "storage", 2.0, 6.0),
    _of_server(ClockStep, "clock", 2.0, 8.0),
]
FAULTS: Final[dict[str, Named]] = {named.kind.name: named for named in _ALL}
"""Name → fault."""


def chosen(names: Sequence[str]) -> list[Named]:
    """The faults of these names, all when none is given; a name's beginning stands for all that begin so.

    Raises ValueError for a name that no fault has.
    """
    found = []
    for name in names:
        matching = [named for each, named in FAULTS.items() if each == name or each.startswith(f"{name}_")]
        if not matching:
            raise ValueError(f"no fault is called {name}; there are {', '.join(FAULTS)}")
        found += matching
    return list(dict.fromkeys(found)) if names else list(FAULTS.values())
