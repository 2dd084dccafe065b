"""Asks a local HTTP address whether it is ready. Called by the supervisor and the stack."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from typing import Final

_DIRECT: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""A proxy from the environment must not stand between two processes of one machine."""


def answers_ok(url: str, *, timeout: float = 2.0) -> bool:
    """Whether GET `url` answers 200 within `timeout` seconds."""
    try:
        with _DIRECT.open(url, timeout=timeout) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, http.client.HTTPException, OSError):
        return False
