"""Old facts become new ones here, at the edge, one version a step; the rest of the code knows only the newest.

To change a fact in a way that defaults cannot express: raise its number in `CURRENT`, and add the step to `UPCASTS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from schemas import facts
from schemas.errors import UnknownVersion

CURRENT: Final[dict[type[facts.Fact], int]] = {
    facts.ImagesEmbedded: 1,
    facts.DecisionSubmitted: 1,
    facts.ReclusterRequested: 1,
    facts.ImagesRemoved: 1,
    facts.PolicyChanged: 1,
    facts.ModelPromoted: 1,
    facts.PetPurged: 1,
}
BY_NAME: Final = {kind.__name__: kind for kind in CURRENT}

Upcast = Callable[[dict[str, Any]], dict[str, Any]]
UPCASTS: Final[dict[tuple[str, int], Upcast]] = {}
"""``(type, version) -> function`` that turns the decoded data of that version into the next version's."""


def upcast(name: str, version: int, data: dict[str, Any]) -> dict[str, Any]:
    """Bring `data` of fact `name` from `version` to the current one.

    Raises UnknownVersion for a type or version that this release does not know.
    """
    kind = BY_NAME.get(name)
    if kind is None:
        raise UnknownVersion(f"fact type {name[:100]!r} is not known to this release")
    current = CURRENT[kind]
    if not 1 <= version <= current:
        raise UnknownVersion(f"fact {name} has version {version}; this release knows 1 to {current}")
    while version < current:
        data = UPCASTS[name, version](data)
        version += 1
    return data
