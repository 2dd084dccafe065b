"""The predecessor in a shadow run: a real HTTP server with its recorded answers, and its values in a real Redis."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web

TOKEN: Final = "the-predecessors"
UPDATED: Final = "2026-11-21T07:49:24.624049+00:00"


def state(pet_id: str, *clusters: tuple[str, ...]) -> dict[str, Any]:
    """An answer as its API sends it: hero first, names by letters, no quality."""
    return {
        "pet_id": pet_id,
        "clusters": [
            {
                "id": f"{pet_id}-cluster-{number}",
                "label": f"Pet {chr(65 + number)}",
                "members": [
                    {"image_id": photo, "score": 0.999 - place / 1000, "position": place, "qualityScore": None}
                    for place, photo in enumerate(photos)
                ],
                "hero_image_id": photos[0],
            }
            for number, photos in enumerate(clusters)
        ],
        "metrics": {"coverage": {}, "quality_score": None, "processed_at": "2026-11-21T07:49:24.624023+00:00"},
        "updated_at": UPDATED,
    }


def redis_value(answer: Mapping[str, Any]) -> str:
    """The same as its worker writes it to Redis: with the fields that its API does not expose."""
    clusters = [
        {
            "id": each["id"],
            "label": each["label"],
            "hero_image_id": each["hero_image_id"],
            "members": [
                {**{name: member[name] for name in ("image_id", "score", "position")}, "quality_score": member["score"]}
                for member in each["members"]
            ],
            "quality_score": 0.99976,
        }
        for each in answer["clusters"]
    ]
    metrics = {"num_clusters": len(clusters), "num_images": 10, "avg_quality": 0.99978, "processed_at": UPDATED}
    return json.dumps({"pet_id": answer["pet_id"], "clusters": clusters, "metrics": metrics, "updated_at": UPDATED})


@dataclass
class Predecessor:
    """`answers`: pet → its state; bytes are sent as they are, a number as a failure of this status, an event is waited
    for first. Every other pet is unknown. `asked`: which pets, in order.
    """

    answers: dict[str, Any]
    url: str = ""
    asked: list[str] = field(default_factory=list)

    async def clusters(self, request: web.Request) -> web.Response:
        """`GET /internal/pets/{pet_id}/clusters`."""
        token = request.headers.get("X-Internal-Token")
        if token is None:
            missing = {"type": "missing", "loc": ["header", "X-Internal-Token"], "msg": "Field required", "input": None}
            return web.json_response({"detail": [missing]}, status=422)
        if token != TOKEN:
            return web.json_response({"detail": "invalid internal token"}, status=401)
        pet_id = request.match_info["pet_id"]
        self.asked.append(pet_id)
        answer = self.answers.get(pet_id)
        if isinstance(answer, asyncio.Event):
            await answer.wait()
            answer = None
        if answer is None:
            return web.json_response({"detail": "cluster state not found"}, status=404)
        if isinstance(answer, int):
            return web.Response(text="Internal Server Error", status=answer)
        return web.Response(
            body=answer if isinstance(answer, bytes) else json.dumps(answer).encode(), content_type="application/json"
        )


@asynccontextmanager
async def predecessor(answers: dict[str, Any]) -> AsyncIterator[Predecessor]:
    """It runs as long as the block."""
    server = Predecessor(answers)
    application = web.Application()
    application.router.add_get("/internal/pets/{pet_id}/clusters", server.clusters)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()
