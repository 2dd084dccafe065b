"""How a role's plain consumers join their groups. Used by the roles `bridge` and `project`."""

from __future__ import annotations

from typing import Any

from app.faust_apps import group_id
from app.settings import Settings
from projections.membership import Membership


def membership(settings: Settings, name: str, **options: Any) -> Membership:
    """A static member of the group ``media-{name}``, named after WORKER_ID. `options`: more of the client's own."""
    group = group_id(settings, name)
    return Membership(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        group_id=group,
        client_id=group,
        instance_id=f"{group}-{settings.worker_id}",
        options={"session_timeout_ms": int(settings.kafka_session_timeout_seconds * 1000), **options},
    )
