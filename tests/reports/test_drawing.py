"""Figures drawn by a process of their own are the same, and are drawn whatever becomes of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from opendt.errors import InputError
from opendt.reports.drawing import Drawing, draw

PNG = b"\x89PNG\r\n"


@pytest.fixture
def drawing():
    with Drawing() as found:
        found.start()
        yield found


def taken_from_the_process(drawing: Drawing, monkeypatch, order) -> dict[str, bytes]:
    """What its process draws; drawing here would fail."""
    monkeypatch.setattr("opendt.reports.drawing.draw", None)
    return drawing.take(*order)


def test_what_is_ordered_is_drawn_elsewhere(drawing, settings, monkeypatch):
    order = (settings, "done", None, ["power", "carbon"])
    drawing.order(*order)
    found = taken_from_the_process(drawing, monkeypatch, order)
    assert list(found) == ["power", "carbon"]
    assert all(png.startswith(PNG) for png in found.values())


def test_a_process_that_was_killed_leaves_the_figures_to_us(drawing, settings):
    os.kill(drawing._process.pid, signal.SIGKILL)
    order = (settings, "done", None, ["power"])
    drawing.order(*order)
    assert drawing.take(*order)["power"].startswith(PNG)


def test_what_was_not_ordered_is_drawn_here(drawing, settings):
    drawing.order(settings, "done", None, ["power"])
    assert list(drawing.take(settings, "done", None, ["carbon"])) == ["carbon"]


def test_an_error_in_the_process_is_told_as_ours(drawing, settings):
    order = (settings, "nobody", None, ["power"])
    drawing.order(*order)
    with pytest.raises(InputError, match="'nobody' is not in the lake"):
        drawing.take(*order)


def test_without_a_process_it_draws_here(settings):
    with Drawing() as idle:
        idle.order(settings, "done", None, ["power"])
        assert idle.take(settings, "done", None, ["power"]) == draw(settings, "done", None, ["power"])


def test_the_process_ends_with_whoever_started_it():
    code = (
        "import time; from opendt.reports.drawing import Drawing; d = Drawing(); d.start(); "
        "print(d._process.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 30
    while _alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(child)


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
