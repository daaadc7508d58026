"""Live news: windows as they are committed, to whoever follows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from opendt.api.routes.events import Follower, _stream
from opendt.errors import LakeError
from opendt.lake import Lake

from .conftest import window


def parse(news: bytes) -> list[tuple[str, dict[str, Any]]]:
    events = []
    for block in news.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith(":"))
        if "event" in fields:
            events.append((fields["event"], json.loads(fields["data"]) | {"_id": fields.get("id")}))
    return events


def indexes(events: list[tuple[str, dict[str, Any]]]) -> list[int]:
    return [value["window_index"] for kind, value in events if kind == "window"]


def commit(ctx: Any, *args: Any) -> None:
    with Lake.open(ctx.settings.lake) as lake:
        lake.commit_window(window(*args))


def context_of(client: TestClient) -> Any:
    return client.app.state.context  # type: ignore[attr-defined]


def test_follower_tells_every_window_once(own: TestClient) -> None:
    ctx = context_of(own)
    follower = Follower(ctx, "latest", None, None, None)
    first = parse(follower.news())
    assert indexes(first) == [0, 1, 2, 3, 4, 5]
    assert first[-1][0] == "run"
    assert first[-1][1]["windows"] == 6
    assert first[0][1]["_id"] == "run-1/0"
    assert follower.news() == b""
    commit(ctx, 6)
    assert indexes(parse(follower.news())) == [6]


def test_reconnecting_browser_misses_none_and_gets_none_twice(own: TestClient) -> None:
    ctx = context_of(own)
    assert indexes(parse(Follower(ctx, "run-1", None, None, "run-1/3").news())) == [4, 5]
    assert indexes(parse(Follower(ctx, "run-1", None, 4, None).news())) == [5]
    assert indexes(parse(Follower(ctx, "run-1", None, None, "another-run/3").news())) == [0, 1, 2, 3, 4, 5]
    assert indexes(parse(Follower(ctx, "run-1", None, None, "nonsense").news())) == [0, 1, 2, 3, 4, 5]


def test_latest_moves_on_to_a_new_run(own: TestClient) -> None:
    ctx = context_of(own)
    follower = Follower(ctx, "latest", None, 5, None)
    assert indexes(parse(follower.news())) == []
    with Lake.open(ctx.settings.lake) as lake:
        lake.start_run("run-2", "dc", "pipeline")
        lake.commit_window(window(0, "run-2"))
    events = parse(follower.news())
    assert indexes(events) == [0]
    assert events[-1][1]["run_id"] == "run-2"


def test_without_a_lake_it_waits_and_then_sees_the_first_run(bare: TestClient) -> None:
    ctx = context_of(bare)
    follower = Follower(ctx, "latest", None, None, None)
    ((kind, value),) = parse(follower.news())
    assert kind == "waiting"
    assert "opendt run" in value["message"]
    assert follower.news() == b""
    with Lake.open(ctx.settings.lake) as lake:
        lake.start_run("run-2", "dc", "pipeline")
    assert [kind for kind, _ in parse(follower.news())] == ["run"]


def test_lake_that_is_being_created_is_picked_up_once_it_is_there(half_made: TestClient) -> None:
    ctx = context_of(half_made)
    follower = Follower(ctx, "latest", None, None, None)
    ((kind, value),) = parse(follower.news())
    assert (kind, "just being created" in value["message"]) == ("waiting", True)
    assert follower.news() == b""
    with Lake.open(ctx.settings.lake) as lake:
        ((kind, value),) = parse(follower.news())
        assert (kind, "opendt run" in value["message"]) == ("waiting", True)
        lake.start_run("run-1", "dc", "pipeline")
        lake.commit_window(window(0))
    assert [kind for kind, _ in parse(follower.news())] == ["window", "run"]


def test_lake_that_cannot_be_read_is_named_and_read_once_it_can(
    own: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = context_of(own)
    follower = Follower(ctx, "latest", None, None, None)
    with monkeypatch.context() as broken:
        broken.setattr(ctx.lake, "snapshot", lambda: (_ for _ in ()).throw(LakeError("the lake is broken.")))
        assert parse(follower.news()) == [("waiting", {"message": "the lake is broken.", "_id": None})]
        assert follower.news() == b""
    assert indexes(parse(follower.news())) == [0, 1, 2, 3, 4, 5]


class Request:
    """A client that stays until it leaves."""

    def __init__(self) -> None:
        self.left = False

    async def is_disconnected(self) -> bool:
        return self.left


def test_stream_ends_when_the_client_leaves(own: TestClient) -> None:
    ctx = context_of(own)
    request = Request()

    async def listen() -> list[bytes]:
        stream: AsyncIterator[bytes] = _stream(request, ctx, Follower(ctx, "latest", None, None, None))  # type: ignore[arg-type]
        heard = [await anext(stream), await anext(stream)]
        assert ctx.streams == 1
        request.left = True
        heard += [part async for part in stream]
        return heard

    heard = asyncio.run(listen())
    assert heard[0] == b"retry: 2000\n\n"
    assert len(indexes(parse(heard[1]))) == 6
    assert len(heard) == 2
    assert ctx.streams == 0


def test_too_many_streams_are_refused(own: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    ctx = context_of(own)
    monkeypatch.setattr(ctx, "streams", ctx.settings.api.max_streams)
    response = own.get("/api/events")
    assert response.status_code == 429
    assert response.headers["retry-after"] == "5"
