"""The web role: a Faust app of web views that leaves Kafka out. Made by the `web` command, and by tests.

It joins no group and holds no lease, so it starts and answers reads while Kafka is down.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import faust
from aiohttp import web
from faust.app.base import BootStrategy
from faust.web import View
from faust.web.base import BlueprintManager

from app.faust_environment import NO_ENVIRONMENT
from app.views.auth import require_token
from app.views.history_request import refuse_unknown
from app.views.middleware import answer_and_measure
from app.views.openapi import with_documentation
from app.views.route import Route
from app.views.routes import ROUTES
from app.views.services import WebServices

APP_ID: Final = "media-web"
_API_VERSION: Final = "0.1.0"


class Lifespan(Protocol):
    """Something that lives as long as the API. `stop` may be called twice."""

    async def start(self) -> None:
        """Begin."""
        ...

    async def stop(self) -> None:
        """End."""
        ...


class _WithoutKafka(BootStrategy):
    enable_kafka = False


class WebApp(faust.App):
    """A Faust app that serves pages and touches no broker."""

    BootStrategy = _WithoutKafka


def create_web_app(
    services: WebServices,
    *,
    host: str,
    port: int,
    tokens: Sequence[str],
    title: str,
    max_body_bytes: int,
    data_dir: Path,
    pages: bool = False,
    lifespan: Sequence[Lifespan] = (),
) -> faust.App:
    """The app, not started.

    `tokens`: what `X-Internal-Token` may be. `pages`: whether /docs and /redoc exist. `lifespan`: started before the
    first request and stopped after the last, e.g. the producer behind `services.submit`.
    """
    routes = with_documentation(ROUTES, title=title, version=_API_VERSION, pages=pages)
    protected = frozenset(route.path for route in routes if route.token)
    middleware = answer_and_measure(services.metrics, require_token(tokens, protected))
    application = {"client_max_size": max_body_bytes, "middlewares": [middleware]}
    app = _bare_app(host, port, data_dir, application)
    for route in routes:
        app.page(route.path, name=route.name)(_view(route, services))
    _without_cors(app)
    for part in lifespan:
        app.web.web_app.on_startup.append(_hook(part.start))
        app.web.web_app.on_cleanup.append(_hook(part.stop))
    return app


def _bare_app(host: str, port: int, data_dir: Path, application: dict[str, Any]) -> faust.App:
    """Faust's web server with no page of its own. `application`: arguments of aiohttp's application."""
    app = WebApp(
        APP_ID,
        # Never connected to; faust only wants a transport to be named.
        broker="kafka://127.0.0.1",
        datadir=data_dir,
        autodiscover=False,
        env=NO_ENVIRONMENT,
        web_bind=host,
        web_port=port,
        web_in_thread=False,
        web_tables_enabled=False,
        web_router_enabled=False,
        web_graph_enabled=False,
        web_stats_enabled=False,
        web_metrics_enabled=False,
        web_application_options=application,
    )
    # Without statistics faust would serve a page of its own at `/`.
    app.web.blueprints = BlueprintManager()
    return app


def _without_cors(app: faust.App) -> None:
    """No route allows other origins, but Faust has CORS look at every answer, from the start of its server on."""
    assert app.web.cors, "it is set up now, not then"
    app.web.web_app.on_response_prepare.clear()


def _view(route: Route, services: WebServices) -> type[View]:
    """A view class with exactly the route's method; a GET answers HEAD too.

    Faust's own dispatch by method, which also tells its sensors, is left out: the class has one method, what went wrong
    is answered by the middleware, and that counts, too.
    """
    known = frozenset(parameter.name for parameter in route.parameters if parameter.place == "query")

    async def answer(_self: View, request: web.Request) -> web.Response:
        if route.only_known:
            refuse_unknown(request.query, known)
        return await route.handler(services, request)

    def get_methods(_self: View) -> set[str]:
        # faust registers HEAD everywhere, also where there is nothing to GET.
        return {"GET", "HEAD"} if route.method == "GET" else {route.method}

    members: dict[str, Any] = {"__call__": answer, "get_methods": get_methods, "__doc__": route.summary}
    return type(route.name, (View,), members)


def _hook(act: Any) -> Any:
    async def hook(_application: web.Application) -> None:
        await act()

    return hook
