"""Which decisions cannot hold beside each other, and which were made on top of another. Pure; used by tables.decide.

Decisions about images that they name never give way: images that belong together, images that a split has set apart,
an image that is not in a cluster, a pinned hero. Those about whole clusters (a name, a merge) hold for what lay in them
but for images that a later decision names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from tables.rules import CLUSTER_KINDS, REMOVED, Decision, Lookup


def contradiction(decisions: Sequence[Decision], gone: Sequence[str]) -> str:
    """Why these cannot all hold, in words; empty when they can. `gone`: see `tables.rules.Rules`."""
    lookup = Lookup(decisions, gone)
    for decision in decisions:
        rule = _RULES.get(decision.kind)
        reason = rule(decision, lookup) if rule else ""
        if reason:
            return f"decision {decision.decision_id} ({decision.kind}) holds: {reason}"
    return ""


def _together(decision: Decision, lookup: Lookup) -> str:
    left = [image_id for image_id in decision.named if lookup.place[image_id] != REMOVED]
    for image_id in left[1:]:
        if lookup.place[image_id] != lookup.place[left[0]]:
            return f"images {left[0]} and {image_id} belong together"
    return ""


def _apart(decision: Decision, lookup: Lookup) -> str:
    (_, named), (_, rest) = decision.places
    first = {number: image_id for image_id in reversed(named) if (number := lookup.place[image_id]) >= 0}
    for image_id in rest:
        other = first.get(lookup.place[image_id])
        if other is not None:
            return f"images {other} and {image_id} were set apart"
    return ""


def _not_here(decision: Decision, lookup: Lookup) -> str:
    number = lookup.standing(decision.cluster)
    for image_id in decision.named:
        if lookup.place[image_id] == number:
            return f"image {image_id} is not in cluster {number}"
    return ""


def _pinned(decision: Decision, lookup: Lookup) -> str:
    number, image_id = lookup.standing(decision.cluster), decision.named[0]
    if lookup.place[image_id] in (number, REMOVED):
        return ""
    return f"image {image_id} is a hero of cluster {number}"


_RULES: Final[dict[str, Callable[[Decision, Lookup], str]]] = {
    "together": _together,
    "split": _apart,
    "not_here": _not_here,
    "pin_hero": _pinned,
}


def dependent(undone: Decision, decisions: Sequence[Decision]) -> Decision | None:
    """The first of the decisions behind `undone` that was made of what it had done, and would be another without it."""
    later = decisions[decisions.index(undone) + 1 :]
    if undone.kind == "remove_images":
        return None  # nobody who wants a photo back should have to undo what was said of others
    if undone.kind in ("rename", "pin_hero"):
        return _kept_alive(undone, later)
    groups = [set(decision.named) for decision in decisions if decision.kind == "together"]
    return next((decision for decision in later if _builds_on(decision, undone, groups)), None)


def _kept_alive(undone: Decision, later: Sequence[Decision]) -> Decision | None:
    """A decision about a cluster that had lost images before it, and might be none without the undone one."""
    shrunk = False
    for decision in later:
        if shrunk and decision.kind != "remove_images" and undone.cluster in decision.about:
            return decision
        if decision.kind == undone.kind == "rename" and decision.cluster == undone.cluster:
            return decision  # it holds only what the earlier name does not
        shrunk |= decision.kind not in ("rename", "pin_hero") and undone.cluster in decision.about
    return None


def _builds_on(decision: Decision, undone: Decision, groups: Sequence[set[str]]) -> bool:
    changed, about = undone.about, decision.about
    if decision.kind == "together":
        named = set(decision.named)
        named.update(*(group for group in groups if not group.isdisjoint(named)))
        return bool(changed & about) or not named.isdisjoint(undone.named)
    if decision.kind in CLUSTER_KINDS:
        return bool(changed & about)
    begun_there = undone.kind in ("merge", "split", "together")
    return decision.kind in ("pin_hero", "not_here") and begun_there and decision.cluster in changed
