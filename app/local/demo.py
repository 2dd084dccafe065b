"""`make demo`: the main job on real photos, from the Redis Stream to the clusters' contact sheet.

Starts a stack of its own, publishes jobs as auth-service does, waits for them, checks and shows what came out, and
stops what it started. Called by app/local/__main__.py.
"""

from __future__ import annotations

import argparse
import json
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
from redis import Redis
from redis.exceptions import RedisError
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from app.local.contact_sheet import SheetPet, contact_sheet
from app.local.demo_results import PetResult, mean_ari
from app.local.kafka_jars import ChecksumError, DownloadError
from app.local.photos import Album, albums_from_folder, bundled_albums
from app.local.processes import StartError
from app.local.publish import PublishedJob, batches, publish, taking_turns
from app.local.stack import REPOSITORY, Stack, stack_settings
from app.settings import INVALID_SETTING_EXIT_CODE, SettingsError
from schemas.answers import ClusterAnswer
from schemas.errors import StopProcess

BATCH: Final = 5
"""Photos a job; small, so that every pet is clustered in several steps."""
MIN_ARI: Final = 0.8
STREAM_KEY: Final = "streams:media.cluster"
_WIDEST: Final = 1000
_POLL_S: Final = 0.2
_DEADLINE_S: Final = 120.0
_DEADLINE_PER_PHOTO_S: Final = 1.0
_HTTP_TIMEOUT_S: Final = 10.0
_DIRECT: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class DemoFailed(Exception):
    """The main job did not do what it must; the message says what."""


@dataclass(frozen=True)
class Api:
    """The service's internal API."""

    url: str
    token: str

    def get(self, path: str) -> tuple[int, Any]:
        """Status and decoded body; status 0 when nobody answers."""
        request = urllib.request.Request(self.url + path, headers={"X-Internal-Token": self.token})
        try:
            with _DIRECT.open(request, timeout=_HTTP_TIMEOUT_S) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, None
        except OSError:
            return 0, None


def main(argv: list[str]) -> int:
    """Run the demo. 0: every job succeeded, every photo is accounted for, the clusters are right. 1: not; says why."""
    options = _parser().parse_args(argv)
    console = Console()
    root: Path = options.root
    try:
        given = stack_settings()
    except SettingsError as error:
        console.print(f"invalid settings: {error}", highlight=False, markup=False, soft_wrap=True, style="bold red")
        return INVALID_SETTING_EXIT_CODE
    say = partial(console.print, markup=False)
    stack = Stack(root / "demo", settings={"CLUSTER_STREAM_KEY": STREAM_KEY}, given=given, say=say)
    try:
        albums = albums_from_folder(options.photos, stack.images) if options.photos else bundled_albums(stack.images)
    except (ValueError, OSError) as error:
        console.print(f"failed: {error}", highlight=False, markup=False, style="bold red")
        return 1
    try:
        return _run(stack, root / "demo.html", albums, console)
    except (DemoFailed, StartError, ChecksumError, DownloadError, StopProcess, RedisError) as error:
        console.print(f"failed: {error}", highlight=False, markup=False, style="bold red")
        console.print(f"the roles' log: {stack.service_log}", markup=False)
        return 1
    except KeyboardInterrupt:
        console.print("interrupted")
        return 130
    finally:
        stack.down()


def _run(stack: Stack, sheet: Path, albums: list[Album], console: Console) -> int:
    started = time.monotonic()
    env = stack.up(detached=False)
    # Other pets at each run: what earlier runs left in the log does not change this one's answers.
    run = secrets.token_hex(3)[:5]
    albums = [replace(album, pet_id=f"{album.pet_id}-{run}") for album in albums]
    api = Api(env["API_URL"], env["INTERNAL_TOKEN"])
    jobs = _publish_and_wait(albums, api, env["REDIS_URL"], run, console)
    results = [PetResult(album, _answer(api, album.pet_id, jobs)) for album in albums]
    _print_table(results, console)
    console.print(f"-{run} is this run's: every run has pets of its own", style="dim", highlight=False)
    _write_sheet(sheet, results)
    console.print(f"contact sheet: {sheet}", highlight=False, markup=False)
    _judge(results, jobs)
    console.print(f"[green]done[/] in {time.monotonic() - started:.0f} s")
    return 0


def _publish_and_wait(
    albums: list[Album], api: Api, redis_url: str, run: str, console: Console
) -> dict[str, Mapping[str, Any]]:
    """Publish all jobs, wait until each has ended; returns job id → the job as the API tells it."""
    jobs = [batches(album.pet_id, [photo.image_id for photo in album.photos], size=BATCH, run=run) for album in albums]
    photos = sum(len(album.photos) for album in albums)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        published = progress.add_task("photos published", total=photos)
        ended = progress.add_task("jobs succeeded", total=sum(map(len, jobs)))
        with Redis.from_url(redis_url) as redis:
            for job in taking_turns(jobs):
                publish(redis, STREAM_KEY, job, now=datetime.now(UTC))
                progress.advance(published, len(job.image_ids))
        waiting = {job.job_id: job for pet_jobs in jobs for job in pet_jobs}
        outcome: dict[str, Mapping[str, Any]] = {}
        deadline = time.monotonic() + _DEADLINE_S + _DEADLINE_PER_PHOTO_S * photos
        while waiting:
            for job_id in list(waiting):
                state = _job(api, waiting[job_id])
                if state is not None and state["status"] in ("succeeded", "failed"):
                    outcome[job_id] = state
                    del waiting[job_id]
                    progress.advance(ended, 1 if state["status"] == "succeeded" else 0)
            if waiting and time.monotonic() > deadline:
                raise DemoFailed(f"{len(waiting)} jobs have no outcome, among them {next(iter(waiting))}")
            if waiting:
                time.sleep(_POLL_S)
    return outcome


def _job(api: Api, job: PublishedJob) -> Mapping[str, Any] | None:
    status, body = api.get(f"/internal/jobs/{job.job_id}?pet_id={job.pet_id}")
    if status in (0, 404, 503):  # not projected yet, or a role is being restarted
        return None
    if status != 200:
        raise DemoFailed(f"GET /internal/jobs/{job.job_id} answers {status}")
    data: Mapping[str, Any] = body["data"]
    return data


def _answer(api: Api, pet_id: str, jobs: Mapping[str, Mapping[str, Any]]) -> ClusterAnswer:
    """The pet's clusters at the version that its last job led to; a job's state may be readable a moment before."""
    wanted = max((job["version"] for job in jobs.values() if job["pet_id"] == pet_id), default=0)
    deadline = time.monotonic() + _DEADLINE_S
    status = 0
    while time.monotonic() < deadline:
        status, body = api.get(f"/internal/pets/{pet_id}/clusters")
        if status == 200 and body["version"] >= wanted:
            return msgspec.convert(body, ClusterAnswer)
        time.sleep(_POLL_S)
    raise DemoFailed(f"GET /internal/pets/{pet_id}/clusters answers {status}, and never version {wanted}")


def _judge(results: list[PetResult], jobs: Mapping[str, Mapping[str, Any]]) -> None:
    problems = []
    for job_id, job in jobs.items():
        if job["status"] != "succeeded":
            problems.append(f"job {job_id} failed: {job['last_error']}")
        problems += [f"{image['image_id']}: {image['kind']}: {image['reason']}" for image in job["failed_images"]]
    for result in results:
        problems += [f"{result.album.pet_id}: {problem}" for problem in result.missing()]
    ari = mean_ari(results)
    if ari is not None and ari < MIN_ARI:
        problems.append(f"mean ARI {ari:.3f} is below {MIN_ARI}")
    if problems:
        raise DemoFailed("\n  ".join(problems[:20]))


def _print_table(results: list[PetResult], console: Console) -> None:
    """Never narrower than its ids, which are there to be copied: a terminal that is wraps whole lines by itself."""
    table = _table(results)
    console.width = max(console.width, Measurement.get(console, console.options.update(width=_WIDEST), table).maximum)
    console.print(table)


def _table(results: list[PetResult]) -> Table:
    known = any(result.album.labelled for result in results)
    table = Table(title="clusters", title_justify="left", box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("pet", no_wrap=True)
    for name in ("version", "clusters", "members"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("hero", no_wrap=True)
    for name in ("unclustered", *(["ARI"] if known else [])):
        table.add_column(name, justify="right", no_wrap=True)
    for result in results:
        answer, ari = result.answer, result.ari()
        row = [
            answer.pet_id,
            str(answer.version),
            str(len(answer.clusters)),
            "\n".join(str(cluster.member_count) for cluster in answer.clusters),
            "\n".join(cluster.hero_image_id for cluster in answer.clusters),
            str(answer.unclustered_count),
        ]
        table.add_row(*row, *(["" if ari is None else f"{ari:.3f}"] if known else []))
    return table


def _write_sheet(path: Path, results: list[PetResult]) -> None:
    paths = {photo.image_id: photo.path for result in results for photo in result.album.photos}
    pets = [SheetPet(result.album.pet_id, result.answer, result.ari()) for result in results]
    path.write_text(contact_sheet(pets, paths, title="Clusters and their heroes"), encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m app.local demo", description=__doc__.split("\n")[0])
    parser.add_argument("--photos", type=Path, help="your own photos, one sub-folder a pet (default: bundled ones)")
    parser.add_argument("--root", type=Path, default=REPOSITORY / ".local", help="where data is kept (default: .local)")
    return parser
