"""The API as an ASGI application."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from opendt import __version__
from opendt.api import errors
from opendt.api.broker import BrokerCheck
from opendt.api.context import Context
from opendt.api.docs_page import STYLE, docs_html
from opendt.api.flow_run import FlowRuns
from opendt.api.metrics import CountRequests, RequestCounts
from opendt.api.pages import Pages
from opendt.api.routes import decisions, events, health, older, runs, series, sql, system, whatif
from opendt.api.security import Doorkeeper, resolve_token
from opendt.api.whatif import WhatIfDesk
from opendt.settings import Settings

log = logging.getLogger("opendt.api")

STATIC = Path(__file__).parent / "static"
DESCRIPTION = (
    "Digital twin of a datacenter: simulated and measured power, carbon, accuracy, calibration, proposals, what-if and "
    "SQL. Times are UTC in ISO 8601. Reading is open on loopback; changes need the header Authorization: Bearer TOKEN."
)


def create_app(settings: Settings, *, token: str | None = None, config: Path | None = None) -> FastAPI:
    """The application.

    Args:
        settings: lake, store, broker and limits.
        token: bearer token for changes; ``resolve_token(settings)`` when None.
        config: settings file that runs started here should use too.

    Raises ``ConfigError`` when it would be reachable by others without a token.
    """
    ctx = Context(settings, resolve_token(settings) if token is None else token, config)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(ctx.close)

    app = FastAPI(
        title="OpenDT API", version=__version__, description=DESCRIPTION, lifespan=lifespan, docs_url=None,
        redoc_url=None, openapi_url="/openapi.json", swagger_ui_oauth2_redirect_url=None,
    )  # fmt: skip
    app.state.context = ctx
    app.state.broker = BrokerCheck(settings.stream)
    app.state.requests = RequestCounts()
    app.state.whatif = WhatIfDesk(ctx)
    app.state.flow_runs = FlowRuns(settings)
    errors.install(app)
    for router in _ROUTERS:
        app.include_router(router)
    _add_pages(app)
    _describe_token(app)
    app.add_middleware(CountRequests, counts=app.state.requests)
    app.add_middleware(CatchAll)
    app.add_middleware(Doorkeeper, settings=settings)
    return app


_ROUTERS = (
    health.router, health.guarded, older.reads, older.changes, runs.router, series.router, decisions.reads,
    decisions.changes, whatif.router, sql.router, events.router, system.router,
)  # fmt: skip


class CatchAll:
    """Turns an error nobody foresaw into the one error shape; its trace goes to the log only."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry point."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def sending(message: Any) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception:
            log.exception("request %s failed", scope.get("opendt.request_id"))
            if started:
                raise
            message = "the server failed; its log has the reason under this request_id."
            response = errors.error_response(
                None, 500, "failed", message, {"request_id": scope.get("opendt.request_id")}
            )
            await response(scope, receive, send)


def _add_pages(app: FastAPI) -> None:
    """The dashboard where it is built, the reference at /docs."""

    @app.get("/docs", include_in_schema=False)
    def docs() -> Response:
        return HTMLResponse(docs_html(app.openapi()))

    @app.get("/docs.css", include_in_schema=False)
    def docs_style() -> Response:
        return Response(STYLE, media_type="text/css")

    if (STATIC / "index.html").is_file():
        app.state.pages = Pages(STATIC)
        app.mount("/", app.state.pages, name="dashboard")
    else:

        @app.get("/", include_in_schema=False)
        def home() -> Response:
            return RedirectResponse("/docs")


def _describe_token(app: FastAPI) -> None:
    """Say in the OpenAPI document which operations take the token."""
    plain_openapi = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = plain_openapi()
            scheme = {"type": "http", "scheme": "bearer"}
            document.setdefault("components", {})["securitySchemes"] = {"token": scheme}
            for path, methods in document["paths"].items():
                for verb, operation in methods.items():
                    if verb in ("put", "post") and path not in ("/api/sql", "/api/whatif"):
                        operation["security"] = [{"token": []}]
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
