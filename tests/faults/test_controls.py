"""A control counts only when it goes red for its own reason, and its patch hits something and is in force."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.e2e.service import REPOSITORY, ROLES
from tests.faults.case import Finding
from tests.faults.controls import CONTROLS, does_not_count, not_in_force
from tests.faults.run import Result
from tests.faults.without import ACTED, PROTECTIONS, STARTED, patch_lines, replace

OUTBOX = next(control for control in CONTROLS if control.off == "outbox")
NOTHING = next(control for control in CONTROLS if control.off == "nothing")


def result(*invariants: str, ended: int = 60, said: str = "outbox", acted: bool = True) -> Result:
    made = Result(1, 20.0, jobs=100, counts={"jobs ended": ended})
    made.findings = [Finding(invariant, "text") for invariant in invariants]
    made.patches = {role: [STARTED.format(said)] for role in ROLES}
    made.patches["fold"] += [ACTED.format(said)] if acted else []
    return made


def test_red_counts_on_a_named_invariant_when_the_service_still_works() -> None:
    assert does_not_count(OUTBOX, result("sent_status", "every_job_ends")) == ""
    assert "not on any of" in does_not_count(OUTBOX, result("every_job_ends", "every_image_is_placed"))
    assert "broke the role outright" in does_not_count(OUTBOX, result("sent_status", ended=49))
    assert "another reason" in does_not_count(OUTBOX, result("sent_status", "no_unforeseen_exit"))


def test_no_control_takes_a_job_without_an_end_for_a_proof() -> None:
    assert not [control.off for control in CONTROLS if "every_job_ends" in control.red]


def test_the_patch_must_be_in_force_in_each_role_and_make_a_difference_in_one() -> None:
    assert not_in_force(OUTBOX, result()) == ""
    assert "not in force" in not_in_force(OUTBOX, result(said="nothing"))
    assert "never run" in not_in_force(OUTBOX, result(acted=False))
    assert not_in_force(NOTHING, result(said="nothing", acted=False)) == ""


def test_what_a_process_says_of_its_patch_is_found_in_its_log() -> None:
    lines = [STARTED.format("outbox"), ACTED.format("outbox")]
    assert patch_lines("\n".join(["noise", *lines, *lines, "more"])) == lines


def test_a_patch_of_what_is_gone_raises() -> None:
    with pytest.raises(AttributeError, match="patches nothing"):
        replace(Result, "gone", None)


@pytest.mark.parametrize("protection", PROTECTIONS)
def test_each_patch_hits_what_there_is(protection: str) -> None:
    """In a process of its own: it stays patched."""
    code = f"from tests.faults.without import *; slow_producers(); PROTECTIONS[{protection!r}]()"
    more = "; from agents.faust_mends import mend_faust; mend_faust()"
    check = "; from faust.tables.recovery import Recovery as R; print(R.on_recovery_completed.__qualname__)"
    done = subprocess.run(
        [sys.executable, "-c", code + more + check], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert ("without_recovery_mend" in done.stdout) == (protection == "recovery_mend")
