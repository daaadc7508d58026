"""Of several processes each name is held by one; names change hands when processes come, go and die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from opendt.errors import ConfigError
from opendt.stream.lease import Leases

NAMES = ["east", "north", "south", "west"]
WORKER = """
import sys, time
from opendt.settings import StreamSettings
from opendt.stream.lease import Leases
settings = StreamSettings.model_validate_json(sys.argv[1])
def nothing(names): pass
with Leases(settings, "fleet", sys.argv[2:], on_gained=nothing, on_given_up=nothing, on_lost=nothing) as leases:
    while len(leases.held) < len(sys.argv[2:]):
        leases.serve(0.1)
    print("held", flush=True)
    while True:
        leases.serve(0.1)
"""


class Member:
    """Leases served by a thread, with what it was told."""

    def __init__(self, settings, names=NAMES, given_up=lambda names: None):
        self.told = []
        self._over = threading.Event()
        self.leases = Leases(
            settings, "fleet", names,
            on_gained=lambda names: self.told.append(("gained", sorted(names))),
            on_given_up=lambda names: (given_up(names), self.told.append(("given up", sorted(names)))),
            on_lost=lambda names: self.told.append(("lost", sorted(names))),
        )  # fmt: skip
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        with self.leases:
            while not self._over.is_set():
                self.leases.serve(0.05)

    @property
    def held(self):
        return set(self.leases.held)

    def leave(self):
        self._over.set()
        self._thread.join(30)


@pytest.fixture
def join(real):
    members = []

    def start(**more):
        members.append(Member(real, **more))
        return members[-1]

    yield start
    for member in members:
        member.leave()


def until(condition, timeout_s=60.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@pytest.mark.java
def test_the_first_holds_everything_and_shares_with_those_who_join(join):
    first = join()
    until(lambda: first.held == set(NAMES))
    second = join()
    until(lambda: len(second.held) == 2)
    assert first.held | second.held == set(NAMES)
    assert first.held.isdisjoint(second.held)
    assert [what for what, _ in first.told] == ["gained", "given up"], "what it keeps is not touched"

    first.leave()
    until(lambda: second.held == set(NAMES))
    assert first.held == set()


@pytest.mark.java
def test_nobody_else_has_a_name_before_its_holder_has_let_go(join):
    let_go, handing_over = threading.Event(), threading.Event()

    def given_up(names):
        handing_over.set()
        assert let_go.wait(60)

    first = join(given_up=given_up)
    until(lambda: first.held == set(NAMES))
    second = join()
    assert handing_over.wait(60)
    time.sleep(0.5)  # time enough to take something away
    assert second.held == set()
    let_go.set()
    until(lambda: len(second.held) == 2)


@pytest.mark.java
def test_what_a_killed_process_held_goes_to_another(real, join):
    process = subprocess.Popen([sys.executable, "-c", WORKER, real.model_dump_json(), *NAMES], stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"held\n"
        os.kill(process.pid, signal.SIGSTOP)  # it cannot hand over any more
        second = join()
        os.kill(process.pid, signal.SIGKILL)
        until(lambda: second.held == set(NAMES))
    finally:
        process.kill()
        process.wait()


@pytest.mark.java
def test_another_list_of_names_is_refused(real, join):
    first = join()
    until(lambda: first.held == set(NAMES))
    with pytest.raises(ConfigError, match=r"has 4 partitions, 3 are needed"):
        Member(real, names=NAMES[:3])
    with pytest.raises(ConfigError, match="at work with another list than east, north, south, up"):
        Member(real, names=[*NAMES[:3], "up"])


def test_on_the_embedded_broker_there_is_none(embedded):
    with pytest.raises(ConfigError, match="has 4 partitions, 2 are needed"):
        Member(embedded, names=["north", "south"])
