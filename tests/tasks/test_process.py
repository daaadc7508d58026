from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from opendt.errors import ConfigError, TerminalError
from opendt.settings import load_settings
from tasks.process import Background


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def test_the_result_comes_back_from_another_process():
    with Background(os.getpid) as background:
        assert background.result(30) == background.pid != os.getpid()


def test_arguments_and_settings_travel():
    with Background(load_settings, None, {"datacenter": "north"}, environment={}) as background:
        assert background.result(30).datacenter == "north"


def test_an_opendt_error_keeps_its_type_and_facts():
    with Background(load_settings, Path("/nowhere.yaml")) as background, pytest.raises(ConfigError, match="nowhere"):
        background.result(30)


def test_another_error_is_terminal_and_named(capfd):
    with Background(math.sqrt, -1) as background, pytest.raises(TerminalError, match="math:sqrt failed: ValueError"):
        background.result(30)


def test_what_the_function_prints_does_not_disturb_the_result(capfd):
    with Background(print, "hello") as background:
        assert background.result(30) is None
    assert "hello" in capfd.readouterr().err


def test_leaving_the_context_ends_the_child():
    with Background(time.sleep, 600) as background:
        assert background.running
    assert not _alive(background.pid)


def test_a_killed_child_is_a_terminal_error_and_not_a_hang():
    with Background(time.sleep, 600) as background:
        os.kill(background.pid, signal.SIGKILL)
        with pytest.raises(TerminalError, match="killed by signal 9"):
            background.result(30)


def test_check_raises_only_when_the_child_has_failed():
    with Background(time.sleep, 600) as background:
        background.check()
        os.kill(background.pid, signal.SIGKILL)
        while background.running:
            time.sleep(0.01)
        with pytest.raises(TerminalError):
            background.check()


def test_the_child_dies_when_its_parent_is_killed():
    script = (
        "import time; from tasks.process import Background\n"
        "b = Background(time.sleep, 600); print(b.pid, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert _alive(child)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while _alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(child)
