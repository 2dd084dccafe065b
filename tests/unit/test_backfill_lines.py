"""Lines of a backfill's file: what is taken for a job, and what is refused by its field."""

from __future__ import annotations

import io

import pytest

from app.backfill.lines import JobReader, job_id_of, read_lines
from bridges.translate import MAX_ENTRY_BYTES, JobRequest
from schemas.errors import InvalidInput


def read(*lines: bytes, run: str = "r") -> list[JobRequest | str | None]:
    """Each line's job, None, or what is wrong with it."""
    reader = JobReader(run)
    found: list[JobRequest | str | None] = []
    for line in read_lines(io.BytesIO(b"".join(lines))):
        try:
            found.append(reader.read(line))
        except InvalidInput as error:
            found.append(f"{line.number}: {error}")
    return found


def test_the_forms_of_a_line() -> None:
    jobs = read(
        b"\xef\xbb\xbfpet_id,image_ids\n",
        b"a,1,2, 2 ,3\r\n",
        b"b\n",
        b"\n",
        b'{"pet_id": "c", "image_ids": ["4"], "labels": ["cat"], "reason": "moved", "force": true}\n',
        b'  {"pet_id": "d", "payload": {"image_ids": ["5"]}}\n',
        b'"e","6"',
    )
    assert [job if job is None or isinstance(job, str) else (job.pet_id, job.image_ids) for job in jobs] == [
        None,
        ("a", ("1", "2", "3")),
        ("b", ()),
        None,
        ("c", ("4",)),
        ("d", ("5",)),
        ("e", ("6",)),
    ]
    named = jobs[4]
    assert isinstance(named, JobRequest)
    assert (named.labels, named.reason, named.force) == (("cat",), "moved", True)
    assert isinstance(jobs[1], JobRequest)
    assert jobs[1].reason == "backfill"


def test_a_job_id_follows_from_run_and_pet() -> None:
    (first,), (again,), (other,) = read(b"a,1\n"), read(b"a,2\n"), read(b"a,1\n", run="s")
    assert isinstance(first, JobRequest)
    assert isinstance(again, JobRequest)
    assert isinstance(other, JobRequest)
    assert first.job_id == again.job_id == job_id_of("r", "a") != other.job_id


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"a/b,1\n", "pet_id: must be 1-128 characters"),
        (b"a,1,x y\n", "image_ids[1]: must be 1-128 characters"),
        (b",1\n", "pet_id: must be 1-128 characters"),
        (b'a,"1\n', "line: is neither a JSON object nor comma-separated: "),
        (b"a\xff,1\n", "line: is not UTF-8"),
        (b"a\x00,1\n", "pet_id: must be"),
        (b'{"pet_id": "a"\n', "line: is not JSON: "),
        (b'{"image_ids": []}\n', "pet_id: is required"),
        (b'{"pet_id": 7}\n', "pet_id: must be a string, got int"),
        (b'{"pet_id": "a", "image_ids": "1"}\n', "image_ids: must be an array"),
        (b'{"pet_id": "a", "job_id": "j"}\n', "job_id: must not be given"),
        (b'{"pet_id": "a", "payload": {"job_id": "j"}}\n', "payload.job_id: must not be given"),
        (b"a,%s\n" % b",".join(b"%d" % n for n in range(10_001)), "image_ids: has 10001 ids"),
        (b"a,%s\n" % (b"1" * MAX_ENTRY_BYTES), f"line: has more than {MAX_ENTRY_BYTES} bytes"),
    ],
)
def test_what_is_wrong_is_told_by_field_and_the_lines_behind_are_read(line: bytes, problem: str) -> None:
    heading, refused, following = read(b"pet_id\n", line, b"b,1\n")
    assert heading is None
    assert str(refused).startswith(f"2: {problem}")
    assert isinstance(following, JobRequest)


def test_a_pet_that_stands_twice_is_refused_with_its_first_line() -> None:
    jobs = read(b"a,1\n", b"b,1\n", b'{"pet_id": "a", "image_ids": ["2"]}\n')
    assert jobs[2] == "3: pet_id: stands in line 1 already: a pet has one job in a run"
