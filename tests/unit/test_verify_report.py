"""What a verification prints for people and writes for a node exporter, and how findings of two looks are matched."""

from __future__ import annotations

import io
from pathlib import Path

import click
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.commands.verify import checked
from app.telemetry import metric_defs as defs
from app.verify.report import Report, print_report, write_metrics
from projections.verify.findings import Finding
from projections.verify.outcome import Verified, is_same

SCORE = Finding("rex", "postgres", 2, 17, "cluster_members[a].score", "0.5", "0.25", 3, "ce-1", "media.Fact.v1")
NOBODY = Finding("nobody", "table", -1, -1, "nobody/h", "nothing", "rows")
BEHIND = Finding("rex", "redis", 3, 20, "version", "3 or later", "2")


def report() -> Report:
    return Report(
        [
            Verified(0, events=7, pets=2, in_table=2, in_postgres=2, in_redis=1, findings=[BEHIND, SCORE]),
            Verified(1, events=1, pets=1, in_table=1, findings=[NOBODY], unsettled=["busy"]),
        ],
        seconds=1.5,
        finished=1_700_000_000.25,
    )


def test_the_table_names_pet_place_version_event_and_field() -> None:
    out = io.StringIO()
    print_report(report(), out, as_json=False)
    printed = out.getvalue()
    for text in ("rex", "postgres", "offset 17", "ce-1", "cluster_members[a].score", "and 2 more", "never held still"):
        assert text in printed
    assert printed.index("nobody") < printed.index("postgres") < printed.index("redis"), "by pet and place"
    last = printed.splitlines()[-1]
    assert last == (
        "verified: pets 3, events 8, in table 3, in postgres 2, in redis 1, differing table 1, differing postgres 1,"
        " differing redis 1, unsettled 1, made up 0, seconds 1.5"
    )


def test_the_metrics_file_has_every_place_and_is_replaced_at_once(tmp_path: Path) -> None:
    file = tmp_path / "media_cluster.prom"
    file.write_text("of the night before")
    write_metrics(report(), file)
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(file.read_text())
        for sample in family.samples
    }
    name = defs.VERIFY_DIFFERING.name
    assert samples == {
        (defs.VERIFY_FINISHED.name,): 1_700_000_000.25,
        (defs.VERIFY_SECONDS.name,): 1.5,
        (defs.VERIFY_PETS.name,): 3,
        (name, "table"): 1,
        (name, "postgres"): 1,
        (name, "redis"): 1,
        (defs.VERIFY_UNSETTLED.name,): 1,
    }
    assert [each.name for each in tmp_path.iterdir()] == [file.name]
    assert not {definition.name for definition in defs.ALL} & {sample[0] for sample in samples}


def test_only_the_same_difference_seen_twice_is_told() -> None:
    assert is_same(SCORE, SCORE)
    assert not is_same(None, SCORE)
    assert not is_same(NOBODY, SCORE)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"pet": "a/b", "metrics_file": None}, "--pet: must be 1-128"),
        ({"pet": "a", "metrics_file": "f"}, "--metrics-file tells of all pets"),
        ({"pet": None, "metrics_file": "/nowhere/f.prom"}, "/nowhere is no folder"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, str | None], said: str) -> None:
    with pytest.raises(click.UsageError, match=said):
        checked(options)
