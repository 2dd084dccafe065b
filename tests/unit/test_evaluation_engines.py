"""Engines through the fold, the cache, and the tables of the evaluation, on small made-up albums."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.progress import Progress

from schemas.facts import EmbeddedImage, Policy, Quality
from schemas.versions import ClusterChange, Hero, MemberChange, PetVersion
from tests.albums import Directions
from tests.bench.report import Report, save
from tests.evaluation import clusters, duplicates, heroes, order, sets
from tests.evaluation.__main__ import main
from tests.evaluation.albums import Album, Shot
from tests.evaluation.cache import LabelledAlbum, read, write
from tests.evaluation.engines import POLICIES, Published, fold, labels
from tests.evaluation.metrics import scores

LEVELS = ("easy", "medium", "hard")
TRUE = [0] * 6 + [1] * 5 + [2, 3]


def picture(name: str, vector: bytes, quality: float = 0.5) -> EmbeddedImage:
    measured = Quality(quality, quality, quality, quality, quality)
    return EmbeddedImage(name, vector, measured, int.from_bytes(vector[:8], "little"), 64, 48, "", bytes(32), 9)


def album(seed: int, part: str = "report", level: str = "easy", kind: str = "mixed") -> LabelledAlbum:
    """Two bursts and two singletons in random order; the best picture of a hero group has the best quality."""
    directions = Directions(seed)
    seen = [directions.new() for _ in range(4)]
    turn = np.random.default_rng(seed).permutation(len(TRUE))
    true = np.zeros(5, np.int32) if kind == "hero" else np.array([TRUE[index] for index in turn], np.int32)
    best = np.arange(len(true)) == 3
    images = tuple(
        picture(f"{seed}-{number:03}", directions.near(seen[label]), 0.9 if best[number] else 0.5)
        for number, label in enumerate(true)
    )
    vectors = np.stack([np.frombuffer(image.vector, "<i2") for image in images])
    pixels = np.arange(len(true), dtype=np.int32)
    return LabelledAlbum(f"{part}-{level}-{seed}", part, level, kind, vectors, true, pixels, best, images)


@pytest.fixture(scope="module")
def albums() -> list[LabelledAlbum]:
    """An album and a hero group of each part and level, one more of each that is reported."""
    found = [album(10 * n, "tune", level) for n, level in enumerate(LEVELS)]
    found += [album(100 + 10 * n + m, "report", level) for n, level in enumerate(LEVELS) for m in range(2)]
    return [*found, album(90, "tune", "hero", "hero"), album(190, "report", "hero", "hero")]


def test_bursts_that_are_far_apart_are_found_and_singletons_left_alone() -> None:
    found = album(1)
    answer = labels(found.images, Policy())
    assert scores(found.labels, answer).ari == 1
    assert scores(found.labels, answer).alone == 1
    assert (answer < 0).sum() == 2


def test_the_policy_that_is_given_decides() -> None:
    found = album(2)
    strict = labels(found.images, Policy(join=0.999, merge=0.999))
    assert (strict == -1).all()


def test_heroes_are_read_from_the_versions() -> None:
    group = album(3, kind="hero")
    published = fold(group.images, Policy())
    (cluster,) = published.heroes
    assert published.heroes[cluster][0].image_id == group.images[3].image_id


def version(number: int, members: list[MemberChange], changes: list[ClusterChange]) -> PetVersion:
    return PetVersion(
        pet_id="p",
        version=number,
        time="",
        partition=0,
        offset=number,
        job_id="j",
        model="m",
        policy_id="",
        max_cluster_size=9,
        members=tuple(members),
        clusters=tuple(changes),
        cluster_count=0,
        image_count=0,
        unclustered_count=0,
    )


def test_versions_are_applied_merges_first() -> None:
    published = Published()
    three = [MemberChange(name, cluster, 1.0, "joined") for name, cluster in (("a", 0), ("b", 1), ("c", 2))]
    stands = [ClusterChange(n, "", 1, 1.0, (Hero(name, 1.0),)) for n, name in enumerate("abc")]
    published.apply(version(1, three, stands))
    moved = [MemberChange("c", 5, 1.0, "reclustered"), MemberChange("d", -1, 1.0, "opened")]
    changes = [ClusterChange(1, "", 0, 0.0, (), 0), ClusterChange(2, "", 0, 0.0, (), 0)]
    published.apply(version(2, moved, changes))
    assert published.clusters == {"a": 0, "b": 0, "c": 5, "d": -1}
    assert set(published.heroes) == {0}
    published.apply(version(3, [MemberChange("a", -1, 1.0, "removed")], []))
    assert "a" not in published.clusters


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    stored = album(4)
    shots = tuple(
        Shot("x", int(label), (7, number), best=bool(best))
        for number, (label, best) in enumerate(zip(stored.labels, stored.best, strict=True))
    )
    write(tmp_path / "v.npz", [Album(stored.name, "tune", "hard", "mixed", shots)], [stored.images])
    (found,) = read(tmp_path / "v.npz")
    assert found.images == stored.images
    assert (found.labels == stored.labels).all()
    assert (found.best == stored.best).all()
    assert (found.vectors == stored.vectors).all()
    assert (found.name, found.part, found.level, found.kind) == (stored.name, "tune", "hard", "mixed")
    assert np.linalg.norm(found.units, axis=1) == pytest.approx(1)


def row(report: Report, name: str) -> dict[str, object]:
    return next(row for row in report.json()["rows"] if name in row.values())


def test_tables_show_what_the_engines_reach(albums: list[LabelledAlbum]) -> None:
    with Progress(disable=True) as progress:
        settings, easy, *_, lost = clusters.run(albums, POLICIES, progress)
        (orders,) = order.run(albums, POLICIES, progress)
        (found,) = heroes.run(albums, POLICIES, progress)
        (copies,) = duplicates.run(albums, POLICIES, progress)
    assert row(easy, "leader-merge 1")["ARI"] == 1
    assert row(settings, "average linkage")["tried"] == 15
    assert {row["not lost"] for row in lost.json()["rows"]} == {"yes"}
    assert row(orders, "leader-merge 1")["ARI between orders"] == 1
    assert row(found, "leader-merge 1")["best, report"] == 1
    assert row(found, "random, expected")["best, report"] == pytest.approx(1 / 5)
    assert row(copies, "easy")["taken for copies"] == 0


def test_settings_are_chosen_without_a_look_at_the_reported_part(albums: list[LabelledAlbum]) -> None:
    """Other truths in the reported part change what is reported, not what is chosen."""
    spoilt = [replace(a, labels=a.labels[::-1].copy()) if a.part == "report" else a for a in albums]
    linkage = next(c for c in clusters.everyone({}) if c.name == "average linkage")
    one, two = (clusters.compete(linkage, some, lambda: None) for some in (albums, spoilt))
    assert (one.setting, one.tuned) == (two.setting, two.tuned)
    assert set(one.scored) == {a.name for a in albums if a.part == "report"}
    assert one.scored != two.scored


def test_counts_of_the_sets(albums: list[LabelledAlbum]) -> None:
    with Progress(disable=True) as progress:
        (found,) = sets.run(albums, POLICIES, progress)
    hard = next(r for r in found.json()["rows"] if (r["part"], r["level"]) == ("report", "hard"))
    assert [hard[name] for name in ("albums", "photos", "bursts", "singletons", "copies")] == [2, 26, 4, 4, 0]


def test_a_method_that_is_no_number_is_null_in_the_file(tmp_path: Path) -> None:
    report = Report("t", ("a", "b"), (("x", math.nan),), (), 3)
    save(tmp_path / "r.json", "n", [report], {}, 1.0)
    assert report.json()["rows"] == [{"a": "x", "b": None}]
    assert '"b": null' in (tmp_path / "r.json").read_text()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["cluster"], "unknown: cluster"),
        (["--policy", "mine"], "not NAME=JSON"),
        (["--policy", 'mine={"join": "high"}'], "join"),
        (["--policy", 'mine={"engine": "guess"}'], "guess"),
    ],
)
def test_wrong_arguments_are_named(arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert reason in capsys.readouterr().err
