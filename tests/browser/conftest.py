"""A real API server on a free loopback port, a small lake made by the twin, and Debian's Chromium."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from visiting import Visit

ROOT = Path(__file__).parents[2]
HELPERS = {"tiny_runs": ROOT / "tests/reports/tiny_runs.py", "visiting": Path(__file__).with_name("visiting.py")}

# Helpers under names of their own, so that tests can import them whatever the import mode.
for _name, _file in HELPERS.items():
    if _name not in sys.modules:
        _spec = importlib.util.spec_from_file_location(_name, _file)
        assert _spec is not None
        assert _spec.loader is not None
        _module = importlib.util.module_from_spec(_spec)
        sys.modules[_name] = _module
        _spec.loader.exec_module(_module)


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """Where Chromium is; skips without it, or fails where it is required."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        reason = "Chromium is not installed (Debian: apt-get install chromium)"
        if os.environ.get("OPENDT_REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@pytest.fixture(scope="module")
def browser(chromium_path):
    """A running Chromium.

    Playwright keeps an event loop running in this thread while it is open, and Prefect's synchronous calls return
    coroutines wherever a loop runs. So it is closed before a test of anything else takes its turn in this process.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium_path, args=["--no-sandbox"])
        yield launched
        launched.close()


@dataclass
class World:
    """A trace, and the settings of a lake with one finished run of it, ``first``."""

    trace: Path
    settings: object


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> World:
    from tiny_runs import tiny_run, tiny_trace

    folder = tmp_path_factory.mktemp("dashboard")
    trace = tiny_trace(folder / "trace")
    # What-if reads traces again, and only from folders the settings name.
    return World(trace, tiny_run(trace, folder / "lake", "first", **{"api.trace_folders": [str(folder)]}))


@pytest.fixture(scope="session")
def address(world) -> Iterator[str]:
    from visiting import serving

    with serving(world.settings) as found:
        yield found


@pytest.fixture(scope="session")
def empty_address(tmp_path_factory) -> Iterator[str]:
    from visiting import serving

    from opendt.settings import load_settings

    lake = tmp_path_factory.mktemp("nothing") / "lake"
    with serving(load_settings(None, {"lake.path": lake}, environment={})) as found:
        yield found


@pytest.fixture
def visit(browser):
    """A function that makes a fresh visitor: size of the window, colour scheme."""
    from visiting import WAIT_MS, Visit

    contexts = []

    def make(width: int = 1440, height: int = 900, scheme: str = "light") -> Visit:
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(WAIT_MS)
        made = Visit(page)
        page.on("console", lambda m: made.complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: made.complaints.append(str(error)))
        page.on("request", lambda request: made.requests.append(request.url))
        return made

    yield make
    for context in contexts:
        context.close()


@pytest.fixture
def visitor(visit, address) -> Visit:
    """Somebody who has the dashboard of the finished run in front of them."""
    made = visit()
    made.open(f"{address}/?run=dc/first")
    return made
