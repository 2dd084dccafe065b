"""The supervisor and the handling of child processes, with real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from app.local.processes import ProcessId, ServerProcess, StartError, wait_until
from app.local.supervisor import RestartDelay, Role, Supervisor

DEADLINE = 20.0
REPOSITORY = Path(__file__).parents[2]


def python(code: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]


def lives(folder: Path) -> list[Path]:
    """One file for each life that `LEAVES_A_MARK` has begun."""
    return sorted(folder.glob("life-*"))


LEAVES_A_MARK = """
    import os, pathlib, sys, time
    print("hello from", os.getpid(), flush=True)
    (pathlib.Path(sys.argv[1]) / f"life-{os.getpid()}").touch()
    time.sleep(float(sys.argv[2]))
    sys.exit(3)
"""
IGNORES_SIGTERM = """
    import pathlib, signal, sys, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (pathlib.Path(sys.argv[1]) / "life-deaf").touch()
    time.sleep(600)
"""
SUPERVISES = """
    import asyncio, pathlib, sys
    from app.local.supervisor import Role, run_roles
    folder = pathlib.Path(sys.argv[1])
    sleeps = "import os,pathlib,sys,time; (pathlib.Path(sys.argv[1])/f'life-{os.getpid()}').touch(); time.sleep(600)"
    roles = [Role(name, [sys.executable, "-c", sleeps, str(folder)]) for name in ("one", "two")]
    sys.exit(asyncio.run(run_roles(roles, log_dir=folder, relay=True)))
"""


async def until(condition: Callable[[], bool]) -> None:
    assert await asyncio.to_thread(wait_until, condition, DEADLINE), "the condition did not come true in time"


def pids_of(folder: Path) -> list[ProcessId]:
    found = [ProcessId.of(int(path.name.removeprefix("life-"))) for path in lives(folder)]
    return [process for process in found if process is not None]


async def test_a_role_that_dies_is_started_again_and_its_output_kept(tmp_path: Path) -> None:
    role = Role("mortal", python(LEAVES_A_MARK, tmp_path, 0))
    supervisor = Supervisor([role], log_dir=tmp_path, relay=False, delay=RestartDelay(first=0.01, longest=0.02))
    supervisor.start()
    await until(lambda: len(lives(tmp_path)) >= 3)
    assert await supervisor.stop() == []
    assert (tmp_path / "mortal.log").read_text().count("hello from") >= len(lives(tmp_path))


async def test_a_killed_role_comes_back_and_the_others_are_left_alone(tmp_path: Path) -> None:
    folders = {name: tmp_path / name for name in ("one", "two")}
    for folder in folders.values():
        folder.mkdir()
    roles = [Role(name, python(LEAVES_A_MARK, folder, 600)) for name, folder in folders.items()]
    supervisor = Supervisor(roles, relay=False, delay=RestartDelay(first=0.01))
    supervisor.start()
    await until(lambda: all(lives(folder) for folder in folders.values()))
    before = supervisor.pids()
    os.kill(before["one"], signal.SIGKILL)
    await until(lambda: len(lives(folders["one"])) == 2)
    after = supervisor.pids()
    assert after["one"] != before["one"]
    assert after["two"] == before["two"]
    assert await supervisor.stop() == []
    assert supervisor.pids() == {}


async def test_a_role_that_ignores_sigterm_is_killed_after_the_deadline(tmp_path: Path) -> None:
    supervisor = Supervisor([Role("deaf", python(IGNORES_SIGTERM, tmp_path))], relay=False, stop_timeout=0.3)
    supervisor.start()
    await until(lambda: bool(lives(tmp_path)))
    assert await supervisor.stop() == ["deaf"]
    assert supervisor.pids() == {}


async def test_waiting_for_readiness_names_the_role_that_is_not_ready(tmp_path: Path) -> None:
    role = Role("mute", python(LEAVES_A_MARK, tmp_path, 600), ready_url="http://127.0.0.1:1/readyz")
    supervisor = Supervisor([role], relay=False)
    supervisor.start()
    with pytest.raises(StartError, match="mute"):
        await supervisor.wait_ready(0.2)
    await supervisor.stop()


def test_two_roles_of_one_name_are_refused() -> None:
    async def build() -> None:
        Supervisor([Role("same", ["true"]), Role("same", ["true"])])

    with pytest.raises(ValueError, match="same name"):
        asyncio.run(build())


def test_restart_delays_double_up_to_a_bound() -> None:
    delay = RestartDelay(first=0.5, longest=4.0)
    assert [delay.after(lives) for lives in (1, 2, 3, 4, 5, 1000)] == [0.5, 1.0, 2.0, 4.0, 4.0, 4.0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_supervisor_stops_all_roles(tmp_path: Path, number: signal.Signals) -> None:
    with subprocess.Popen(python(SUPERVISES, tmp_path), cwd=REPOSITORY, stderr=subprocess.DEVNULL) as supervisor:
        assert wait_until(lambda: len(pids_of(tmp_path)) == 2, DEADLINE)
        roles = pids_of(tmp_path)
        supervisor.send_signal(number)
        assert supervisor.wait(DEADLINE) == 0
    assert not any(role.alive() for role in roles)


def test_roles_die_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(python(SUPERVISES, tmp_path), cwd=REPOSITORY, stderr=subprocess.DEVNULL) as supervisor:
        assert wait_until(lambda: len(pids_of(tmp_path)) == 2, DEADLINE)
        roles = pids_of(tmp_path)
        supervisor.kill()
    assert wait_until(lambda: not any(role.alive() for role in roles), DEADLINE)


def test_another_process_can_stop_what_a_pid_file_names(tmp_path: Path) -> None:
    starter = ServerProcess("sleeper", tmp_path)
    starter.spawn(["sleep", "600"], detached=True)
    later = ServerProcess("sleeper", tmp_path)
    identity = later.identity()
    assert identity is not None
    later.stop()
    assert not identity.alive()
    assert starter.identity() is None
    assert not (tmp_path / "sleeper.pid").exists()


def test_a_pid_that_another_program_has_now_is_left_alone(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "600"]) as stranger:
        (tmp_path / "server.pid").write_text(f"[{stranger.pid}, 1]")  # the pid is right, the start time is not
        server = ServerProcess("server", tmp_path)
        assert server.identity() is None
        server.stop()
        server.kill()
        assert stranger.poll() is None
        stranger.kill()


def test_a_process_that_ends_at_once_is_reported_with_its_log(tmp_path: Path) -> None:
    process = ServerProcess("broken", tmp_path)
    process.spawn(python("import sys; sys.exit('no such disk')"))
    with pytest.raises(StartError, match=r"(?s)broken ended with exit code 1 .*no such disk"):
        process.wait_ready(lambda: False, DEADLINE)


def test_a_process_that_never_gets_ready_is_killed_and_reported(tmp_path: Path) -> None:
    process = ServerProcess("slow", tmp_path)
    process.spawn(["sleep", "600"])
    identity = process.identity()
    assert identity is not None
    with pytest.raises(StartError, match="slow was not ready within"):
        process.wait_ready(lambda: False, 0.1)
    assert not identity.alive()


def test_a_program_that_does_not_exist_is_reported_by_name(tmp_path: Path) -> None:
    process = ServerProcess("absent", tmp_path)
    process.spawn([str(tmp_path / "no-such-program")])
    with pytest.raises(StartError, match=r"(?s)exit code 127.*no-such-program"):
        process.wait_ready(lambda: False, DEADLINE)


def test_a_child_of_a_killed_parent_ends_unless_it_is_detached(tmp_path: Path) -> None:
    code = """
        import pathlib, sys, time
        from app.local.processes import ServerProcess
        folder = pathlib.Path(sys.argv[1])
        ServerProcess("tied", folder).spawn(["sleep", "600"])
        ServerProcess("detached", folder).spawn(["sleep", "600"], detached=True)
        time.sleep(600)
    """
    tied, detached = ServerProcess("tied", tmp_path), ServerProcess("detached", tmp_path)
    with subprocess.Popen(python(code, tmp_path), cwd=REPOSITORY) as parent:
        assert wait_until(lambda: detached.identity() is not None, DEADLINE)
        parent.kill()
    try:
        assert wait_until(lambda: tied.identity() is None, DEADLINE)
        assert detached.identity() is not None
    finally:
        detached.stop()


def test_killing_takes_the_children_along(tmp_path: Path) -> None:
    process = ServerProcess("family", tmp_path)
    process.spawn(["sh", "-c", "setsid sleep 600 & wait"])
    identity = process.identity()
    assert identity is not None
    assert wait_until(lambda: bool(identity.descendants()), DEADLINE)
    family = identity.descendants()
    process.kill()
    assert not any(member.alive() for member in (identity, *family))
