"""The search across pets over HTTP: who may ask, what is asked, what comes back, what is refused by name."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app.local.kafka import KafkaServer
from app.views.similar import DEFAULT_NEAREST, HEADER
from projections.pool import create_pool
from schemas.topics import Topics
from tests.albums import MODEL, Directions
from tests.contract.web_rig import TOKEN, Api, Stores, serving
from tests.integration.similar_world import SimilarWorld, burst, similar_world

OWN, BEFORE = "may-search-others", "might-search-others"
PET = "/internal/pets/a"
IMAGE = f"{PET}/images/one/similar"
CLUSTER = f"{PET}/clusters/a-cluster-0/similar"


@pytest.fixture
async def world(kafka: KafkaServer, topics: Topics, migrated_url: str) -> AsyncIterator[SimilarWorld]:
    """Pet `a` and 25 others, each with two photos near a direction of all."""
    async with (
        create_pool(migrated_url, size=2, statement_timeout_ms=20_000, ssl_mode="disable") as pool,
        similar_world(kafka.bootstrap_servers, topics, pool, migrated_url) as opened,
    ):
        directions = Directions(1)
        shared = directions.new()
        for pet in ("a", *(f"b:{number:02}" for number in range(25))):
            await opened.embed(pet, burst(directions, shared, "one", "two"))
        await opened.embed("a", {"loose": directions.near(directions.new())})
        await opened.index()
        yield opened


@pytest.fixture
def stores(world: SimilarWorld, migrated_url: str, redis_url: str) -> Stores:
    return Stores(migrated_url, redis_url, world.bootstrap_servers, world.topics)


@pytest.fixture
async def api(stores: Stores, tmp_path: Path) -> AsyncIterator[Api]:
    async with serving(stores, tmp_path, similarity_tokens=(OWN, BEFORE)) as opened:
        yield opened


async def ask(api: Api, path: str, own: str | None = OWN, token: str | None = TOKEN) -> tuple[int, Any]:
    """Status and document of an answer."""
    reply = await api.call("GET", path, token=token, headers={} if own is None else {HEADER: own})
    return reply.status, json.loads(reply.body)


async def refused(api: Api, path: str, own: str | None = OWN) -> tuple[int, str, str]:
    """Status, code and field of a refusal in the envelope."""
    status, document = await ask(api, path, own)
    assert (list(document), document["data"]) == (["api_version", "data", "meta", "error"], None)
    return status, document["error"]["code"], document["error"].get("field", "")


async def test_an_image_has_photos_and_clusters_of_others_nearest_first(api: Api) -> None:
    status, document = await ask(api, IMAGE)
    assert (status, list(document), document["error"]) == (200, ["api_version", "data", "meta", "error"], None)
    data = document["data"]
    assert (list(data), data["model"]) == (["model", "photos", "clusters"], MODEL)
    photos, clusters = data["photos"], data["clusters"]
    assert (len(photos), len(clusters)) == (DEFAULT_NEAREST, DEFAULT_NEAREST)
    for found in (photos, clusters):
        cosines = [each["cosine"] for each in found]
        assert cosines == sorted(cosines, reverse=True)
        assert {each["pet_id"][0] for each in found} == {"b"}
    assert list(photos[0]) == ["pet_id", "image_id", "cosine", "cluster"]
    assert photos[0]["cluster"] == f"{photos[0]['pet_id']}-cluster-0"
    first = clusters[0]
    assert list(first) == ["pet_id", "cluster", "cosine", "label", "member_count", "hero_image_id"]
    assert (first["cluster"], first["member_count"]) == (f"{first['pet_id']}-cluster-0", 2)
    assert first["hero_image_id"] in {"one", "two"}


async def test_a_cluster_is_asked_about_by_its_id(api: Api) -> None:
    status, document = await ask(api, CLUSTER)
    assert status == 200
    assert len(document["data"]["photos"]) == DEFAULT_NEAREST


async def test_filters_narrow_what_comes_back(api: Api) -> None:
    _, document = await ask(api, f"{IMAGE}?limit=100")
    every = document["data"]["photos"]
    assert len(every) == 50
    _, few = await ask(api, f"{IMAGE}?limit=3&kinds=photos")
    assert (few["data"]["photos"], few["data"]["clusters"]) == (every[:3], None)
    _, near = await ask(api, f"{IMAGE}?limit=100&min_cosine={every[9]['cosine'] - 1e-6}")
    assert near["data"]["photos"] == every[:10]
    left = ",".join(f"b:{number:02}" for number in range(1, 25))
    _, one = await ask(api, f"{IMAGE}?kinds=clusters,photos&exclude_pets={left}&model={MODEL}")
    assert {each["pet_id"] for each in (*one["data"]["photos"], *one["data"]["clusters"])} == {"b:00"}


async def test_either_of_two_tokens_opens_it_and_no_other(api: Api) -> None:
    assert (await ask(api, IMAGE, BEFORE))[0] == 200
    for wrong in (None, "", "wrong", OWN + "x", TOKEN, "\u00e4"):
        assert await refused(api, IMAGE, wrong) == (403, "similarity_forbidden", "")
        assert await refused(api, CLUSTER, wrong) == (403, "similarity_forbidden", "")
    status, document = await ask(api, IMAGE, OWN, token=None)
    assert (status, document) == (401, {"detail": "invalid internal token"}), (
        "its token is beside the other, not instead"
    )


async def test_without_a_token_of_its_own_it_is_off(stores: Stores, tmp_path: Path) -> None:
    async with serving(stores, tmp_path) as off:
        for path in (IMAGE, CLUSTER, f"{PET}/images/none/similar"):
            for own in (None, "", OWN):
                assert await refused(off, path, own) == (403, "similarity_off", "")


@pytest.mark.parametrize(
    ("path", "status", "code", "field"),
    [
        (f"{PET}/images/none/similar", 404, "image_not_found", ""),
        ("/internal/pets/none/images/one/similar", 404, "clusters_not_found", ""),
        (f"{PET}/clusters/a-cluster-9/similar", 404, "cluster_not_found", ""),
        (f"{PET}/clusters/b-cluster-0/similar", 404, "cluster_not_found", ""),
        (f"{PET}/clusters/unclustered/similar", 404, "cluster_not_found", ""),
        (f"{IMAGE}?model=none@1", 404, "not_indexed", ""),
        (f"{CLUSTER}?model=none@1", 404, "not_indexed", ""),
        (f"{IMAGE}?model=", 422, "invalid_parameter", "model"),
        (f"{IMAGE}?model=%00", 422, "invalid_parameter", "model"),
        (f"{IMAGE}?limit=0", 422, "invalid_parameter", "limit"),
        (f"{IMAGE}?limit=101", 422, "invalid_parameter", "limit"),
        (f"{IMAGE}?min_cosine=1.1", 422, "invalid_parameter", "min_cosine"),
        (f"{IMAGE}?min_cosine=nan", 422, "invalid_parameter", "min_cosine"),
        (f"{IMAGE}?min_cosine=x", 422, "invalid_parameter", "min_cosine"),
        (f"{IMAGE}?kinds=heroes", 422, "invalid_parameter", "kinds"),
        (f"{IMAGE}?kinds=", 422, "invalid_parameter", "kinds"),
        (f"{IMAGE}?exclude_pets=a/b", 422, "invalid_parameter", "exclude_pets"),
        (f"{IMAGE}?exclude_pets={','.join(['x'] * 101)}", 422, "invalid_parameter", "exclude_pets"),
        (f"{IMAGE}?cursor=x", 422, "invalid_parameter", "cursor"),
        ("/internal/pets/a%20b/images/one/similar", 422, "invalid_parameter", "pet_id"),
    ],
)
async def test_what_is_wrong_is_told_by_name(api: Api, path: str, status: int, code: str, field: str) -> None:
    assert await refused(api, path) == (status, code, field)


async def test_a_photo_that_is_not_indexed_yet_is_told_from_one_that_is_not_there(
    api: Api, world: SimilarWorld
) -> None:
    await world.embed("a", {"late": Directions(3).near(Directions(3).new())})
    assert await refused(api, f"{PET}/images/late/similar") == (404, "not_indexed", "")
    await world.index()
    assert (await ask(api, f"{PET}/images/late/similar"))[0] == 200


async def test_while_postgres_is_not_read_it_says_so(stores: Stores, tmp_path: Path) -> None:
    async with serving(stores, tmp_path, read_postgres=False, similarity_tokens=(OWN,)) as unread:
        assert await refused(unread, IMAGE) == (503, "reading_off", "")
