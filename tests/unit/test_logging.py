"""Logs are one JSON object a line on stderr, whoever logs and whatever faust does to stdout."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PREPARE = "from app.telemetry.logging import configure_logging; configure_logging('INFO', 'svc', 'fold')\n"


def lines_of(code: str) -> tuple[list[dict[str, Any]], str]:
    """What a process that runs `code` writes: stderr's lines parsed, and stdout."""
    done = subprocess.run(
        [sys.executable, "-c", PREPARE + code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    return [json.loads(line) for line in done.stderr.splitlines()], done.stdout


def test_a_line_has_the_known_keys_and_what_was_added() -> None:
    (line,), _ = lines_of("import structlog; structlog.get_logger('a.b').warning('job_failed', pet_id='1', n=2)")
    assert list(line)[:4] == ["timestamp", "level", "logger", "message"]
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "WARNING",
        "logger": "a.b",
        "message": "job_failed",
        "service": "svc",
        "role": "fold",
        "pet_id": "1",
        "n": 2,
    }


def test_the_standard_library_writes_the_same_lines() -> None:
    (line,), _ = lines_of("import logging; logging.getLogger('aiokafka').error('lost %s', 'it', extra={'node': 3})")
    assert (line["level"], line["logger"], line["message"]) == ("ERROR", "aiokafka", "lost it")
    assert (line["service"], line["role"], line["node"]) == ("svc", "fold", 3)


def test_a_traceback_stays_on_its_line() -> None:
    code = """
import logging, structlog
for log in (structlog.get_logger('x'), logging.getLogger('y')):
    try:
        1 / 0
    except ZeroDivisionError:
        log.exception('failed')
"""
    lines, _ = lines_of(code)
    assert [line["logger"] for line in lines] == ["x", "y"]
    assert all("ZeroDivisionError" in line["exception"] for line in lines)


def test_lower_levels_are_left_out() -> None:
    code = "import logging, structlog; structlog.get_logger('x').debug('a'); logging.getLogger('y').debug('b')"
    assert lines_of(code) == ([], "")


def test_a_faust_worker_leaves_the_lines_as_they_are() -> None:
    code = """
import faust, structlog
from faust.app.base import BootStrategy
class Boot(BootStrategy):
    enable_kafka = False
    enable_web = False
class App(faust.App):
    BootStrategy = Boot
app = App('t', broker='kafka://127.0.0.1', autodiscover=False)
worker = faust.Worker(app, loglevel='INFO', override_logging=False)
@app.task
async def work():
    structlog.get_logger('role').info('logged')
    await worker.stop()
try:
    worker.execute_from_commandline()
except SystemExit as ended:
    assert not ended.code, ended.code
"""
    lines, _ = lines_of(code)
    assert "logged" in {line["message"] for line in lines}


def test_what_is_printed_while_faust_redirects_stdout_is_a_line_too() -> None:
    code = """
import structlog
from mode.utils.logging import redirect_stdouts
with redirect_stdouts(severity='INFO'):
    print('printed')
    structlog.get_logger('role').info('logged')
"""
    lines, written = lines_of(code)
    assert [line["message"] for line in lines] == ["printed", "logged"]
    assert written == ""
