"""Live news by server-sent events: windows as they are committed, runs as they change."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from opendt.api.context import Context, context, may_read
from opendt.api.encode import encode
from opendt.api.errors import RESPONSES, NotFoundError, TooManyRequestsError
from opendt.api.parameters import DatacenterQuery
from opendt.errors import LakeError, TransientError
from opendt.lake.plain import plain_rows
from opendt.lake.queries import RUNS
from opendt.lake.reader import RunKey

router = APIRouter(prefix="/api", tags=["live"], dependencies=[Depends(may_read)], responses=RESPONSES)
Ctx = Annotated[Context, Depends(context)]

RunQuery = Annotated[str, Query(min_length=1, max_length=200, description="A run, or latest to follow new ones.")]

HEARTBEAT_S = 15.0


@router.get(
    "/events", response_class=StreamingResponse, summary="Live windows and runs",
    responses={200: {"content": {"text/event-stream": {}}, "description": "Server-sent events."}},
)  # fmt: skip
async def events(
    request: Request, ctx: Ctx, datacenter: DatacenterQuery = None,
    run_id: RunQuery = "latest",
    since: Annotated[int | None, Query(ge=-1, description="Last window already known.")] = None,
    last_event_id: Annotated[str | None, Header(max_length=300)] = None,
) -> StreamingResponse:  # fmt: skip
    """A stream that stays open.

    ``run``: a run's row with totals, when it starts, changes state or commits. ``window``: each committed window; its
    id is ``RUN/INDEX``, so that a browser that reconnects misses none. ``waiting``: why there is nothing to tell yet.
    """
    if ctx.streams >= ctx.settings.api.max_streams:
        raise TooManyRequestsError("too many live streams are open; close one.", retry_after_s=5)
    follower = Follower(ctx, run_id, datacenter, since, last_event_id)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_stream(request, ctx, follower), headers=headers, media_type="text/event-stream")


async def _stream(request: Request, ctx: Context, follower: Follower) -> AsyncIterator[bytes]:
    ctx.streams += 1
    spoken = time.monotonic()
    try:
        yield b"retry: 2000\n\n"
        while not await request.is_disconnected():
            news = await run_in_threadpool(follower.news)
            if news:
                spoken = time.monotonic()
                yield news
            elif time.monotonic() - spoken > HEARTBEAT_S:
                spoken = time.monotonic()
                yield b": still here\n\n"
            await asyncio.sleep(ctx.settings.api.poll_s)
    finally:
        ctx.streams -= 1


class Follower:
    """What one client has been told, and what is new since."""

    def __init__(
        self, ctx: Context, run_id: str, datacenter: str | None, since: int | None, last_event_id: str | None
    ) -> None:
        self._ctx = ctx
        self._run_id = run_id
        self._datacenter = datacenter
        self._run: RunKey | None = None
        self._resume = _resumed(last_event_id)
        self._since = since
        self._index = -1
        self._told_snapshot = ""
        self._told_run: dict[str, Any] = {}
        self._told_waiting = ""

    def news(self) -> bytes:
        """Events since the last call; nothing while no commit happened."""
        try:
            snapshot = self._ctx.lake.snapshot()
            if snapshot == self._told_snapshot:
                return b""
            events = self._look()
        except LakeError as error:
            return self._waiting(error.message)  # no lake yet, or one that cannot be read until somebody repairs it
        except TransientError:
            return b""  # the catalogue is locked just now; the next look will see it
        self._told_snapshot = snapshot
        return b"".join(events)

    def _look(self) -> list[bytes]:
        run = self._find()
        if run is None:
            waiting = self._waiting(f"there is no run {self._run_id} yet. Start one with `opendt run`.")
            return [waiting] if waiting else []
        if run != self._run:
            self._start_following(run)
        events = [
            _event("window", window, f"{run.run_id}/{window['window_index']}") for window in self._new_windows(run)
        ]
        row = plain_rows(
            self._ctx.lake.query(
                f"SELECT * FROM ({RUNS}) WHERE run_id = ? AND datacenter = ?", [run.run_id, run.datacenter]
            )
        )[0]
        if row != self._told_run:
            self._told_run = row
            events.append(_event("run", row))
        return events

    def _find(self) -> RunKey | None:
        try:
            return self._ctx.run_key(self._run_id, self._datacenter)
        except NotFoundError:
            return None

    def _start_following(self, run: RunKey) -> None:
        """Begin at the window the client knows, if it is of this run; else at the first."""
        first = self._run is None
        self._run = run
        self._index = -1
        if self._resume and self._resume[0] == run.run_id:
            self._index = self._resume[1]
        elif first and self._since is not None:
            self._index = self._since

    def _new_windows(self, run: RunKey) -> list[dict[str, Any]]:
        rows = plain_rows(
            self._ctx.lake.query(
                "SELECT * FROM window_times WHERE run_id = ? AND datacenter = ? AND window_index > ? "
                "ORDER BY window_index LIMIT 2000",
                [run.run_id, run.datacenter, self._index],
            )
        )
        if rows:
            self._index = rows[-1]["window_index"]
        return rows

    def _waiting(self, message: str) -> bytes:
        if self._told_waiting == message:
            return b""
        self._told_waiting = message
        return _event("waiting", {"message": message})


def _resumed(last_event_id: str | None) -> tuple[str, int] | None:
    run_id, _, index = (last_event_id or "").rpartition("/")
    return (run_id, int(index)) if run_id and index.isdecimal() else None


def _event(kind: str, value: Any, identity: str | None = None) -> bytes:
    head = f"id: {identity}\n" if identity else ""
    return f"{head}event: {kind}\n".encode() + b"data: " + encode(value) + b"\n\n"
