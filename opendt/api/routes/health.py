"""Whether the server lives, whether it can work, and numbers about both."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from opendt import __version__
from opendt.api import models
from opendt.api.context import Context, context, may_read
from opendt.api.encode import JSON, encode
from opendt.api.errors import RESPONSES
from opendt.api.metrics import exposition, lake_gauges
from opendt.errors import BrokerUnavailableError, OpenDTError
from opendt.lake.connection import NoLakeError

router = APIRouter(tags=["health"])
guarded = APIRouter(tags=["health"], dependencies=[Depends(may_read)], responses=RESPONSES)
Ctx = Annotated[Context, Depends(context)]


@router.get("/health", response_model=models.Health, summary="Whether the server lives")
def health(request: Request, ctx: Ctx) -> models.Health:
    """Answers as long as the process can; tells whether the broker was reached lately."""
    return models.Health(
        status="healthy",
        kafka=request.app.state.broker.state(),
        config="loaded",
        version=__version__,
        uptime_s=round(time.time() - ctx.started, 1),
    )


@router.get(
    "/ready", response_model=models.Ready, summary="Whether the server can do its work",
    responses={503: {"model": models.Ready, "description": "Something it needs is missing."}},
)  # fmt: skip
def ready(request: Request, ctx: Ctx) -> Response:
    """Checks lake, operational store and broker; 503 names what is missing."""
    broker = request.app.state.broker

    def ask_broker() -> str:
        state = broker.state()
        if state == "disconnected":
            raise BrokerUnavailableError(broker.reason)
        return str(state)

    checks = {"lake": _check(lambda: _lake(ctx)), "store": _check(lambda: _store(ctx)), "broker": _check(ask_broker)}
    ok = all(check["ok"] for check in checks.values())
    body = {"status": "ready" if ok else "not ready", "checks": checks}
    return Response(encode(body), 200 if ok else 503, {"Cache-Control": "no-store"}, JSON)


@guarded.get("/metrics", summary="Prometheus metrics", responses={200: {"content": {"text/plain": {}}}})
def metrics(request: Request, ctx: Ctx) -> Response:
    """Requests by route, and the latest run's progress, power and error."""
    text = exposition(request.app.state.requests, lake_gauges(ctx))
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


def _lake(ctx: Context) -> str:
    try:
        return f"snapshot {ctx.lake.snapshot().split('.')[-1]}"
    except NoLakeError:
        return "empty: no run has written to it yet"


def _store(ctx: Context) -> str:
    with ctx.store() as store:
        store.ping()
    return "answers"


def _check(ask: Callable[[], str]) -> dict[str, Any]:
    started = time.perf_counter()
    try:
        found, ok = ask(), True
    except OpenDTError as error:
        found, ok = error.message, False
    return {"ok": ok, "detail": found, "ms": round((time.perf_counter() - started) * 1e3, 1)}
