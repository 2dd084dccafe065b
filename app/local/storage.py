"""A small image storage for one machine, with the storage service's routes. Run by the local stack.

STORAGE_SERVICE_TOKEN=T python -m app.local.storage --folder DIR --port N [--host 127.0.0.1] [--token T]

The variable is the way to give the token: anyone on the machine can read a command line.

GET /healthz                                            200 {"status": "ok"}, needs no token
GET /internal/images/{id}                               the file DIR/{id}.jpg (.png, …)
GET /internal/pets/{pet_id}/images-with-embeddings      {"image_ids": [...]} as DIR/index.json names them
"""

from __future__ import annotations

import argparse
import hmac
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import msgspec
from aiohttp import web

from schemas.errors import InvalidInput
from schemas.ids import check_id

SUFFIXES: Final = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".bmp": "image/bmp",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".heic": "image/heic",
    ".heif": "image/heif",
}
"""File endings that are served, and their media types."""
INDEX: Final = "index.json"
TOKEN_VARIABLE: Final = "STORAGE_SERVICE_TOKEN"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def storage_app(folder: Path, token: str) -> web.Application:
    """The storage's routes over `folder`; every request but /healthz needs ``Authorization: Bearer <token>``."""
    root = folder.resolve()

    @web.middleware
    async def authorize(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization", "")
        if request.path != "/healthz" and not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
            raise web.HTTPUnauthorized(headers={"WWW-Authenticate": "Bearer"})
        return await handler(request)

    async def image(request: web.Request) -> web.StreamResponse:
        path = find_image(root, _id(request, "image_id"))
        if path is None:
            raise web.HTTPNotFound(text="no such image")
        return web.FileResponse(path, headers={"Content-Type": SUFFIXES[path.suffix]})

    async def pet_images(request: web.Request) -> web.StreamResponse:
        ids = read_index(root).get(_id(request, "pet_id"))
        if ids is None:
            raise web.HTTPNotFound(text="no such pet")
        return web.json_response({"image_ids": ids})

    async def healthz(_: web.Request) -> web.StreamResponse:
        return web.json_response({"status": "ok"})

    app = web.Application(middlewares=[authorize])
    app.add_routes(
        [
            web.get("/healthz", healthz),
            web.get("/internal/images/{image_id:.+}", image),
            web.get("/internal/pets/{pet_id}/images-with-embeddings", pet_images),
        ]
    )
    return app


def find_image(folder: Path, image_id: str) -> Path | None:
    """The image's file; None when there is none, or when a link leads out of `folder` (a resolved path)."""
    for suffix in SUFFIXES:
        path = (folder / f"{image_id}{suffix}").resolve()
        if path.is_file() and path.parent == folder and path.suffix in SUFFIXES:
            return path
    return None


def read_index(folder: Path) -> dict[str, list[str]]:
    """Pet id → image ids, from `index.json`; empty when there is none. Raises msgspec.DecodeError when it is broken."""
    try:
        raw = (folder / INDEX).read_bytes()
    except FileNotFoundError:
        return {}
    return msgspec.json.decode(raw, type=dict[str, list[str]])


def _id(request: web.Request, name: str) -> str:
    """Ids hold no slash, so none leads out of the folder."""
    try:
        return check_id(request.match_info[name], name)
    except InvalidInput as error:
        raise web.HTTPBadRequest(text=str(error)) from error


def main(argv: list[str]) -> int:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m app.local.storage")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--token", help=f"default: the environment variable {TOKEN_VARIABLE}")
    parser.add_argument("--host", default="127.0.0.1")
    options = parser.parse_args(argv)
    if not options.folder.is_dir():
        parser.error(f"--folder: {options.folder} is no folder")
    token = options.token or os.environ.get(TOKEN_VARIABLE)
    if not token:
        parser.error(f"the token is missing: set {TOKEN_VARIABLE} or give --token")
    web.run_app(storage_app(options.folder, token), host=options.host, port=options.port, print=None)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
