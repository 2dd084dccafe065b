"""The JSON schema of a submitted job, with its bounds. Pure; called by `app.views.openapi`."""

from __future__ import annotations

from typing import Any, Final

from app.views.job_request import ClusterJobBody
from bridges.translate import MAX_LAYERS
from schemas.bounds import MAX_DEPTH, MAX_ITEMS, MAX_METADATA_BYTES, MAX_NAME, MAX_TEXT
from schemas.commands import MAX_IMAGES_PER_JOB
from schemas.ids import ID_PATTERN

_ID: Final = {"type": "string", "pattern": f"^{ID_PATTERN.pattern}$"}
_NAME: Final = {"type": "string", "maxLength": MAX_NAME}


def job_body_schema(references: str) -> dict[str, Any]:
    """What `parse_request` accepts. `references`: template of a reference to a component, with ``{model}``."""
    schema = ClusterJobBody.model_json_schema(ref_template=references)
    schema["description"] = (
        "Only `pet_id` is required; unknown keys are dropped. Whole numbers have at most 64 bits wherever they stand, "
        f"and nothing is nested deeper than {MAX_DEPTH}."
    )
    schema["properties"] |= {
        "pet_id": _ID,
        "job_id": _or_null(_ID, "Names the job within its pet. Without it one is made; see the answer's `X-Job-Id`."),
        "reason": _or_null({"type": "string", "maxLength": MAX_TEXT}, "Why the job is submitted."),
        "force": {"type": "boolean", "default": False, "description": "Embed images again that are known already."},
        "payload": {
            "type": "object",
            "description": f"The job's details. They may also stand beside `payload`, or in a `payload` inside it, up "
            f"to {MAX_LAYERS} levels in all; what stands further in counts, but for the ids, which must agree.",
            "properties": _details(),
        },
        "metadata": _or_null(
            {"type": "object"}, f"Passed on with the job; its JSON has at most {MAX_METADATA_BYTES} bytes."
        ),
    }
    return schema


def _details() -> dict[str, Any]:
    return {
        "image_ids": {
            "type": "array",
            "items": _ID,
            "maxItems": MAX_IMAGES_PER_JOB,
            "description": "The images to be clustered. Without any, those that the storage service lists for the pet.",
        },
        "images": _or_null(
            {"type": "array", "items": _insight(), "maxItems": MAX_IMAGES_PER_JOB},
            "What is known of single images. Those that `image_ids` does not name are asked for as well, up to "
            f"{MAX_IMAGES_PER_JOB} in all; of what is said of an image twice, the later word counts.",
        ),
        "labels": _or_null(
            {"type": "array", "items": _NAME, "maxItems": MAX_ITEMS}, "Votes for the name of the images' clusters."
        ),
        "coverage": _or_null(
            {
                "type": "object",
                "additionalProperties": {"type": "number"},
                "propertyNames": {"maxLength": MAX_NAME},
                "maxProperties": MAX_ITEMS,
            },
            "Answered as `metrics.coverage`.",
        ),
        "quality_score": _or_null({"type": "number"}, "Answered as `metrics.quality_score`."),
    }


def _insight() -> dict[str, Any]:
    return {
        "type": "object",
        "description": "It counts when the image is embedded; of a known one, with `force`. Unknown keys are dropped.",
        "required": ["image_id"],
        "properties": {
            "image_id": _ID,
            "quality_score": _or_null({"type": "number", "minimum": 0, "maximum": 1}, "How good the picture is."),
            "pose": _or_null(_NAME, "How the animal stands or lies, e.g. `frontal`."),
            "label": _or_null(_NAME, "Votes for the name of the image's cluster, in place of the job's `labels`."),
            "taken_at": _or_null(
                {"type": "string", "format": "date-time", "maxLength": MAX_NAME},
                "ISO 8601, which may be without a zone; counts where the file has no time of its own.",
            ),
        },
    }


def _or_null(schema: dict[str, Any], meaning: str) -> dict[str, Any]:
    return {**schema, "type": [schema["type"], "null"], "description": meaning}
