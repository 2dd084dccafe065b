"""Ends the process at once when going on could lose or corrupt something. The supervisor restarts it.

Not `sys.exit`: nothing may run between the finding and the end, above all no commit. What was not acknowledged is
read again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Final, NoReturn

EXIT_CODE: Final = 70  # EX_SOFTWARE
Abort = Callable[[str], NoReturn]


def abort_process(reason: str) -> NoReturn:
    """Write one line of JSON that says why, and end the process with `EXIT_CODE`."""
    line = json.dumps({"level": "critical", "logger": __name__, "message": "aborted", "reason": reason})
    os.write(2, f"{line}\n".encode())
    os._exit(EXIT_CODE)
