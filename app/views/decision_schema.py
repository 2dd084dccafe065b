"""What the OpenAPI document says of a decision's body: each kind's arguments. Pure; called by `app.views.openapi`."""

from __future__ import annotations

from typing import Any

import msgspec

from app.views.decision_request import DecisionBody
from schemas.decisions import KINDS


def decision_schemas(ref: str) -> dict[str, Any]:
    """The components. `ref`: what stands before a component's name in a reference."""
    _, components = msgspec.json.schema_components((DecisionBody, *KINDS.values()), ref_template=ref + "{name}")
    name = {"type": "string", "description": "The cluster's id."}
    for kind in KINDS.values():
        properties = components[kind.__name__]["properties"]
        if "cluster" in properties:
            properties["cluster"] = name
        if "clusters" in properties:
            properties["clusters"] = {**properties["clusters"], "items": name}
    schemas = {f"{name}Arguments": schema for name, schema in components.items() if name != DecisionBody.__name__}
    body = components[DecisionBody.__name__]
    body["properties"]["kind"] = {"type": "string", "enum": list(KINDS)}
    body["properties"]["arguments"] = {
        "description": "As the kind takes them.",
        "anyOf": [{"$ref": f"{ref}{kind.__name__}Arguments"} for kind in KINDS.values()],
    }
    return {**schemas, DecisionBody.__name__: body}
