"""Serves the bytes of a file at ``/page``: what a web framework costs by itself. Started by the benchmark `reads`.

Usage: ``python -m tests.bench.bare_page faust | aiohttp PORT FILE``.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import faust
from aiohttp import web
from faust.web import View

from app.local.ports import HOST
from app.views.web_app import _bare_app


def serve_faust(port: int, body: bytes) -> None:
    """A page of Faust's, on the same bare app as the service's API."""
    with tempfile.TemporaryDirectory() as folder:
        app = _bare_app(HOST, port, Path(folder), {})

        @app.page("/page")
        class Page(View):
            async def get(self, request: web.Request) -> web.Response:
                return web.Response(body=body, content_type="application/json")

        app.finalize()
        faust.Worker(app, loglevel="ERROR", quiet=True).execute_from_commandline()


def serve_aiohttp(port: int, body: bytes) -> None:
    """Aiohttp alone."""

    async def page(_request: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    application = web.Application()
    application.router.add_get("/page", page)
    web.run_app(application, host=HOST, port=port, print=None, access_log=None)


if __name__ == "__main__":
    kind, at, name = sys.argv[1:]
    {"faust": serve_faust, "aiohttp": serve_aiohttp}[kind](int(at), Path(name).read_bytes())
