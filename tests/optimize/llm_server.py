"""A local server that speaks enough of the OpenAI chat API to drive every way an answer can go. For tests only."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Reply:
    """What to send: a JSON body (or raw text), status, headers, and how slowly."""

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    drip_s: float = 0.0  # pause between bytes


def completion(content: str | None = None, *, finish: str = "stop", calls: list[dict[str, Any]] | None = None,
               refusal: str | None = None, usage: tuple[int, int] = (1000, 200)) -> dict[str, Any]:  # fmt: skip
    """A chat completion."""
    message = {"role": "assistant", "content": content, "refusal": refusal}
    if calls:
        message["tool_calls"] = [
            {"id": f"call_{i}", "type": "function", "function": call} for i, call in enumerate(calls)
        ]  # fmt: skip
        finish = "tool_calls"
    return {
        "id": "c1", "object": "chat.completion", "created": 0, "model": "test",
        "choices": [{"index": 0, "message": message, "finish_reason": finish, "logprobs": None}],
        "usage": {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)},
    }  # fmt: skip


def change(hosts: int | None = None, path: str = "clusters[0].hosts[0]", **more: Any) -> dict[str, Any]:
    """One entry of an answer's changes."""
    return {"path": path, "hosts": hosts, "cores_per_processor": None, "core_speed_mhz": None} | more


def answer(*changes: dict[str, Any], policy: str | None = None, reasons: Any = ("fewer idle hosts",)) -> str:
    """An answer's text."""
    return json.dumps({"changes": list(changes), "allocation_policy": policy, "reasons": list(reasons)})


def what_if(*changes: dict[str, Any], name: str = "what_if") -> dict[str, Any]:
    """A call of the what-if tool."""
    return {"name": name, "arguments": json.dumps({"changes": list(changes), "allocation_policy": None})}


@dataclass
class Server:
    """A running server: its address, and the requests it got."""

    url: str
    requests: list[dict[str, Any]]
    times: list[float]
    authorizations: list[str]


@contextmanager
def serving(*replies: Reply | dict[str, Any] | Callable[[dict[str, Any]], Any]):
    """Serve these replies in order on a loopback port, the last one for ever. Plain dictionaries are sent with 200."""
    server = Server("", [], [], [])
    stop = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            number = min(len(server.requests), len(replies) - 1)
            server.requests.append(body)
            server.times.append(time.monotonic())
            server.authorizations.append(self.headers.get("Authorization", ""))
            reply = replies[number]
            made = reply(body) if callable(reply) else reply
            self._send(made if isinstance(made, Reply) else Reply(made))

        def _send(self, reply: Reply) -> None:
            stop.wait(reply.delay_s)
            data = (reply.body if isinstance(reply.body, str) else json.dumps(reply.body)).encode()
            self.send_response(reply.status)
            for name, value in ({"Content-Type": "application/json"} | reply.headers).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            try:
                if not reply.drip_s:
                    self.wfile.write(data)
                for at in range(len(data) if reply.drip_s else 0):
                    self.wfile.write(data[at : at + 1])
                    if stop.wait(reply.drip_s):
                        return
            except OSError:
                self.close_connection = True  # the client gave up, as some tests want it to

        def log_message(self, *args: Any) -> None:
            """Keep the test output quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        http.block_on_close = False
        server.url = f"http://127.0.0.1:{http.server_address[1]}/v1"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            stop.set()
            http.shutdown()
            thread.join()
