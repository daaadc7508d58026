"""A server to visit, and a visitor: what the browser tests are written with."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TOKEN = "a-token-for-tests"
SCREENSHOTS = Path(__file__).parents[2] / "artifacts" / "screenshots"
WAIT_MS = 20_000  # an upper bound for slow machines; nothing waits this long when it works


@contextmanager
def serving(settings) -> Iterator[str]:
    """The API with its dashboard on a free port; gives its address."""
    import uvicorn

    from opendt.api.app import create_app

    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        create_app(settings, token=TOKEN), log_level="warning", access_log=False, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        assert time.monotonic() < deadline, "the API did not start"
        time.sleep(0.02)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(15)


@dataclass
class Visit:
    """A page in the browser, with what it complained about and where it sent requests."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def open(self, address: str) -> None:
        """Load the page and wait until it has found out about runs."""
        self.page.goto(address)
        self.page.wait_for_selector("#summary, .welcome h1", timeout=WAIT_MS)

    def until(self, condition: str, argument: Any = None) -> None:
        """Wait until an expression is true (or a function of the argument, when one is given).

        Playwright's own way needs eval, which the page's security policy forbids.
        """
        deadline = time.monotonic() + WAIT_MS / 1_000
        while not (found := self.page.evaluate(condition, argument)):
            assert time.monotonic() < deadline, f"{condition} is still {found}"
            self.page.wait_for_timeout(40)

    def settle(self) -> None:
        """Wait until nothing is loading; scroll to every chart, for charts are drawn when they come into view."""
        page = self.page
        self.until("!document.querySelector('.spin')")
        for chart in page.locator(".chart").all():
            chart.scroll_into_view_if_needed()
        self.until("!document.querySelector('.spin, .chart[data-ready=false]')")
        page.evaluate("window.scrollTo({ top: 0, behavior: 'instant' })")

    def shot(self, name: str) -> None:
        """Keep a picture of the whole page."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)
