"""Fetching from a local HTTP server that breaks off, lies and forgets on command."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from typer.testing import CliRunner

from opendt.cli import app
from opendt.errors import ConfigError, InputError, TraceError, TransientError
from opendt.traces.fetch import fetch_trace
from opendt.traces.sources import SOURCES, Source, SourceFile, find_source

FILES = {"tasks.parquet": bytes(range(256)) * 2000, "topology.json": b'{"clusters": []}'}


class Server:
    """A server of files below any path, by file name, with faults."""

    def __init__(self) -> None:
        self.files = dict(FILES)
        self.break_after: list[int] = []  # bytes after which the next answers break off
        self.status: dict[str, int] = {}
        self.ranges = True
        self.requests: list[tuple[str, str | None]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        name = handler.path.rsplit("/", 1)[1]
        asked = handler.headers.get("Range")
        self.requests.append((handler.path, asked))
        if name in self.status or name not in self.files:
            handler.send_error(self.status.get(name, 404))
            return
        body = self.files[name]
        begin = int(re.sub(r"\D", "", asked)) if asked and self.ranges else 0
        if begin >= len(body):
            handler.send_error(416)
            return
        handler.send_response(206 if begin else 200)
        if begin:
            handler.send_header("Content-Range", f"bytes {begin}-{len(body) - 1}/{len(body)}")
        handler.send_header("Content-Length", str(len(body) - begin))
        handler.end_headers()
        rest = body[begin:]
        handler.wfile.write(rest[: self.break_after.pop(0)] if self.break_after else rest)

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def server():
    running = Server()
    yield running
    running.stop()


@pytest.fixture
def source():
    files = {name: SourceFile(hashlib.sha256(body).hexdigest(), len(body)) for name, body in FILES.items()}
    return Source("tiny", "A tiny trace", "someone/traces", "c0ffee", "workload/tiny", files)


@pytest.fixture
def fetch(server, source, tmp_path):
    def run(**changes):
        options = {"base_url": server.url, "attempts": 2, "pause_s": 0.0, "timeout_s": 5.0} | changes
        return fetch_trace(source, tmp_path / "traces" / "tiny", **options)

    return run


def test_files_land_verified_under_the_pinned_address(fetch, server, tmp_path):
    seen = []
    fetched = fetch(progress=lambda *facts: seen.append(facts))
    assert fetched.path == tmp_path / "traces" / "tiny"
    assert {name: (fetched.path / name).read_bytes() for name in FILES} == FILES
    assert "commit c0ffee" in (fetched.path / "README.md").read_text()
    assert server.requests[0] == ("/someone/traces/c0ffee/workload/tiny/tasks.parquet", None)
    assert seen[-1] == ("topology.json", 16, 16)
    assert [p.name for p in (tmp_path / "traces").iterdir()] == ["tiny"]


def test_second_fetch_asks_the_server_for_nothing(fetch, server):
    fetch()
    server.requests.clear()
    assert fetch().downloaded_bytes == 0
    assert server.requests == []


def test_broken_download_continues_within_one_call(fetch, server):
    server.break_after = [100_000]
    fetched = fetch()
    assert server.requests[:2] == [
        ("/someone/traces/c0ffee/workload/tiny/tasks.parquet", None),
        ("/someone/traces/c0ffee/workload/tiny/tasks.parquet", "bytes=100000-"),
    ]
    assert (fetched.path / "tasks.parquet").read_bytes() == FILES["tasks.parquet"]


def test_interrupted_call_leaves_nothing_half_done_and_the_next_continues(fetch, server, tmp_path):
    server.break_after = [100_000, 50_000]
    with pytest.raises(TransientError, match=r"2 attempts.*Try again") as caught:
        fetch()
    assert caught.value.exit_code == 75
    assert not (tmp_path / "traces" / "tiny").exists()
    server.requests.clear()
    fetched = fetch()
    assert server.requests[0][1] == "bytes=150000-"
    assert fetched.resumed == ("tasks.parquet",)
    assert (fetched.path / "tasks.parquet").read_bytes() == FILES["tasks.parquet"]


def test_server_without_ranges_sends_the_file_from_the_start(fetch, server):
    server.break_after = [100_000]
    server.ranges = False
    assert (fetch().path / "tasks.parquet").read_bytes() == FILES["tasks.parquet"]


@pytest.mark.parametrize("body", [b"x" * len(FILES["topology.json"]), b"x" * 9_999, FILES["topology.json"] + b" "])
def test_wrong_checksum_is_refused_and_the_file_removed(fetch, server, tmp_path, body):
    server.files["topology.json"] = body
    with pytest.raises(TraceError, match=r"topology\.json: SHA-256 is .*, not the pinned") as caught:
        fetch()
    assert caught.value.exit_code == 2
    assert not (tmp_path / "traces" / "tiny").exists()
    assert not (tmp_path / "traces" / ".tiny.part" / "topology.json").exists()
    server.files["topology.json"] = FILES["topology.json"]
    assert fetch().files == 2


@pytest.mark.parametrize("part", [b"y" * 100_000, b"y" * 512_000, b"y" * 600_000])
def test_part_of_something_else_is_replaced(fetch, tmp_path, part):
    folder = tmp_path / "traces" / ".tiny.part"
    folder.mkdir(parents=True)
    (folder / "tasks.parquet").write_bytes(part)
    assert (fetch().path / "tasks.parquet").read_bytes() == FILES["tasks.parquet"]


def test_file_the_server_does_not_have_is_not_retried(fetch, server):
    server.status["tasks.parquet"] = 404
    with pytest.raises(TraceError, match=r"answered 404 .*tasks\.parquet.*traces\.base_url"):
        fetch()
    assert len(server.requests) == 1


def test_busy_server_is_tried_again_and_then_reported_as_transient(fetch, server):
    server.status["tasks.parquet"] = 503
    with pytest.raises(TransientError, match="answered 503"):
        fetch()
    assert len(server.requests) == 2


def test_server_that_is_not_there_is_transient(fetch, server):
    with pytest.raises(TransientError, match="broke off"):
        fetch(base_url="http://127.0.0.1:9", timeout_s=1.0)


def test_only_http_addresses_are_accepted(fetch):
    with pytest.raises(ConfigError, match="http"):
        fetch(base_url="file:///etc")


def test_other_content_at_the_destination_is_never_touched(fetch, tmp_path):
    dest = tmp_path / "traces" / "tiny"
    dest.mkdir(parents=True)
    (dest / "tasks.parquet").write_bytes(b"mine")
    with pytest.raises(TraceError, match="--dest"):
        fetch()
    assert (dest / "tasks.parquet").read_bytes() == b"mine"


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(InputError, match="bitbrains-small, surf"):
        find_source("surff")


def test_every_source_is_pinned_completely():
    for source in SOURCES.values():
        assert re.fullmatch("[0-9a-f]{40}", source.commit)
        assert {"tasks.parquet", "fragments.parquet"} <= source.files.keys()
        assert all(re.fullmatch("[0-9a-f]{64}", f.sha256) and f.size > 0 for f in source.files.values())


def test_pinned_surf_files_are_those_beside_the_project(surf_dir):
    for name, wanted in SOURCES["surf"].files.items():
        data = (surf_dir / name).read_bytes()
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (wanted.sha256, wanted.size)


def test_command_fetches_surf_from_another_server(server, surf_dir, tmp_path):
    server.files = {path.name: path.read_bytes() for path in surf_dir.iterdir()}
    words = ["trace", "fetch", "surf", "--dest", str(tmp_path / "s"), "--base-url", server.url, "--json"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["downloaded_bytes"] == 3_655_758
    assert "atlarge-research/opendt/ef5a6204" in server.requests[0][0]
    assert json.loads(CliRunner().invoke(app, words).stdout)["downloaded_bytes"] == 0


def test_command_reports_unknown_names_with_exit_code_2():
    result = CliRunner().invoke(app, ["trace", "fetch", "nosuch"])
    assert result.exit_code == 2
    assert "no public trace is called 'nosuch'" in result.stderr
