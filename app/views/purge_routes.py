"""The routes of purges. Part of the table in `app.views.routes`."""

from __future__ import annotations

from typing import Final

from app.views import purges
from app.views.route import ERROR, PET, Answer, Parameter, Route

PURGES: Final = (
    Route(
        "POST",
        "/internal/pets/{pet_id}/purge",
        "purge_pet",
        "Destroy all that is known of a pet and was accepted up to now. It cannot be taken back.",
        purges.ask_for_purge,
        (
            Answer(
                202,
                "Accepted: the broker has the command, or the purge of this `purge_id` is known. `Location` is its "
                "receipt.",
                "PurgeEnvelope",
                headers=("Location",),
            ),
            Answer(400, "The body breaks off, or is not compressed as its header says.", "Detail"),
            Answer(413, "The body is too large.", "Detail"),
            Answer(422, "The pet's id or the body is not valid.", ERROR),
            Answer(
                503,
                "Kafka, or with a `purge_id` Postgres, does not answer; send the same again, best with a `purge_id`.",
                ERROR,
            ),
        ),
        parameters=(PET,),
        body="PurgeBody",
    ),
    Route(
        "GET",
        "/internal/pets/{pet_id}/purges/{purge_id}",
        "get_purge",
        "A purge: `pending` until it is carried out, then what was removed where.",
        purges.get_purge,
        (
            Answer(200, "The purge.", "PurgeEnvelope"),
            Answer(404, "The pet has no such purge (yet).", ERROR),
            Answer(422, "The pet's id is not valid.", ERROR),
            Answer(503, "Postgres does not answer.", ERROR),
        ),
        parameters=(PET, Parameter("purge_id", "path", "The purge's id, of the same form as a pet's.")),
    ),
)
