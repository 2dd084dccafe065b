"""The routes of the search across pets. Part of the table in `app.views.routes`."""

from __future__ import annotations

from typing import Final

from app.views import similar
from app.views.route import ERROR, PET, Answer, Parameter, Route

_ANSWERS: Final = (
    Answer(200, "The nearest photos and clusters of other pets that hold now, nearest first.", "SimilarEnvelope"),
    Answer(403, "The search is not switched on, or its token is absent or wrong.", ERROR),
    Answer(422, "A parameter is not valid, or not known.", ERROR),
    Answer(503, "Postgres does not answer.", ERROR),
)
_ASK: Final = (
    Parameter(
        "limit",
        "query",
        f"Most of each kind, 1 to {similar.MAX_NEAREST}; {similar.DEFAULT_NEAREST} unless given.",
        "integer",
        {"minimum": 1, "maximum": similar.MAX_NEAREST},
    ),
    Parameter("min_cosine", "query", "None that is less alike.", "number", {"minimum": -1, "maximum": 1}),
    Parameter("kinds", "query", f"Of {', '.join(f'`{kind}`' for kind in similar.KINDS)}, comma-separated; else both."),
    Parameter("exclude_pets", "query", f"At most {similar.MAX_EXCLUDED} pets' ids, comma-separated: none of theirs."),
    Parameter("model", "query", "By vectors of this model, `{name}@{version}`; else the one of the pet's clusters."),
    Parameter(
        similar.HEADER, "header", "The token of those who may search other pets, beside the other one.", required=True
    ),
)

SIMILAR: Final = (
    Route(
        "GET",
        "/internal/pets/{pet_id}/images/{image_id}/similar",
        "get_similar_to_image",
        "What of other pets is near to an image of a pet.",
        similar.similar_to_image,
        (*_ANSWERS, Answer(404, "The pet's album does not hold the image, or it is not indexed (yet).", ERROR)),
        parameters=(PET, Parameter("image_id", "path", "The image's id, of the same form as a pet's."), *_ASK),
        only_known=True,
    ),
    Route(
        "GET",
        "/internal/pets/{pet_id}/clusters/{cluster}/similar",
        "get_similar_to_cluster",
        "What of other pets is near to a cluster of a pet, by the mean of its members.",
        similar.similar_to_cluster,
        (
            *_ANSWERS,
            Answer(308, "The cluster was merged: its successor.", "SuccessorEnvelope", headers=("Location",)),
            Answer(404, "The pet has no such cluster now, or it is not indexed (yet).", ERROR),
        ),
        parameters=(PET, Parameter("cluster", "path", "The cluster's id."), *_ASK),
        only_known=True,
    ),
)
