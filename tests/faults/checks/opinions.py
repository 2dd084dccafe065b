"""The second oracle, which shares no code with the fold, comes to the same as topics and tables. Called by audit.py."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tests.faults.case import Case, Finding
from tests.faults.oracle import PetOpinion

COUNTS = ("placed", "known", "failed")


def second_oracle_agrees(case: Case) -> Iterator[Finding]:
    """On the albums' images, on counts, and on how each run of each job ended."""
    for pet in case.ledger.pets():
        opinion = case.opinions.get(pet, PetOpinion())
        members = Counter(case.evidence.members.get(pet, []))
        if members != Counter(opinion.images):
            both = members.keys() ^ opinion.images
            yield Finding("oracle_membership", f"{pet}: {len(members)} images in Postgres; differ: {sorted(both)[:5]}")
        counts = {
            "table": case.offline.store.pet(pet).image_count,
            "postgres": (case.evidence.version_rows.get(pet) or [(0, 0)])[-1][1],
            "jobs": sum(job.placed for job in opinion.jobs.values()) + len(opinion.unclaimed),
        }
        if set(counts.values()) != {len(opinion.images)}:
            yield Finding("oracle_counts", f"{pet}: {counts}, the album has {len(opinion.images)}")
        for job_id, image_id in opinion.unfounded:
            text = f"{image_id} was called known, and no fact before had carried it"
            yield Finding("known_is_in_the_log", text, (pet, job_id))
        yield from _jobs_agree(case, pet, opinion)


def _jobs_agree(case: Case, pet: str, opinion: PetOpinion) -> Iterator[Finding]:
    for key, job in opinion.jobs.items():
        job_id, _, rest = key.partition("#")
        run = int(rest.partition(".")[0] or 1)
        outcomes = case.outcomes.get((pet, job_id, run), {})
        told = {(each["status"], *(each[name] for name in COUNTS)) for each in outcomes.values()}
        if job.ended and job.told not in told:
            yield Finding("oracle_jobs", f"run {run}: told {sorted(told)}, the oracle {job.told}", (pet, job_id))
        if not job.ended and told and case.runs((pet, job_id)).get(run, 1) == 1:
            yield Finding("oracle_jobs", f"run {run}: told {sorted(told)}, the oracle: not ended", (pet, job_id))
    for (of_pet, job_id), row in case.evidence.job_rows.items():
        if of_pet != pet:
            continue
        outcomes = case.outcomes.get((pet, job_id, row["run"]), {})
        told = {(each["status"], *(each[name] for name in COUNTS)) for each in outcomes.values()}
        kept = (row["state"], *(row[name] for name in COUNTS))
        if kept not in told:
            text = f"Postgres has run {row['run']} {kept}, the topic tells {sorted(told)}"
            yield Finding("oracle_jobs", text, (pet, job_id))
