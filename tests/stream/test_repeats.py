"""What librdkafka repeats while a broker is out of reach is logged once in a while; nothing else is held back."""

from __future__ import annotations

import logging
import socket
import time

import pytest

from opendt.settings import StreamSettings
from opendt.stream import kafka
from opendt.stream.repeats import QUIET_S, Repeats


class Said:
    """A logger with the filter, a clock that is set by hand, and the lines that come through."""

    def __init__(self):
        self.now, self.lines = 0.0, []
        self._logger = logging.Logger("said")
        self._logger.addFilter(Repeats(monotonic=lambda: self.now))
        handler = logging.Handler()
        handler.emit = lambda record: self.lines.append(record.getMessage())
        self._logger.addHandler(handler)

    def fail(self, broker="b:9092", cause="Connection refused", client="opendt#producer-1", state="CONNECT", more=""):
        """Log as librdkafka does."""
        text = f"[thrd:{broker}/1]: {broker}/1: Connect failed: {cause} (after {self.now:.0f}ms in state {state}{more})"
        self._logger.log(logging.ERROR, "%s [%s] %s", "FAIL", client, text)

    def say(self, facility, text):
        """Something else librdkafka logs."""
        self._logger.log(logging.WARNING, "%s [%s] %s", facility, "opendt#producer-1", text)


@pytest.fixture
def said():
    return Said()


def test_the_same_failure_is_said_once_whichever_client_has_it_and_however_long_it_tried(said):
    for number in range(100):
        said.now = number * 0.05
        said.fail(
            client=f"opendt#consumer-{number}", more=f", {number} identical error(s) suppressed" if number else ""
        )
    assert len(said.lines) == 1
    assert "Connection refused (after 0ms in state CONNECT)" in said.lines[0]


def test_it_is_said_again_after_a_while_with_the_number_left_out(said):
    for _ in range(5):
        said.fail()
    said.now = QUIET_S - 0.1
    said.fail()
    assert len(said.lines) == 1
    said.now = QUIET_S
    said.fail()
    assert len(said.lines) == 2
    assert said.lines[1].endswith("(5 more since the last such line)")
    said.now = 3 * QUIET_S
    said.fail()
    assert said.lines[2].endswith("in state CONNECT)"), "none was left out in between"


def test_another_broker_cause_or_state_is_said(said):
    for _ in range(3):
        said.fail()
        said.fail(broker="c:9092")
        said.fail(cause="timed out")
        said.fail(state="UP")
    assert len(said.lines) == 4


def test_whatever_is_no_failed_connection_passes(said):
    for _ in range(3):
        said.say("MAXPOLL", "application did not poll in time")
        said.say("FETCH", "b:9092 FAIL [x] is no failure")
    assert len(said.lines) == 6


def test_what_it_remembers_is_bounded(said):
    for number in range(10_000):
        said.fail(broker=f"b{number}:9092")
    assert len(said._logger.filters[0]._said) < 1000


def test_a_broker_that_is_not_there_is_named_once(caplog):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with caplog.at_level(logging.ERROR, logger="opendt.stream.kafka"):
        client = kafka.producer(StreamSettings(bootstrap_servers=f"127.0.0.1:{port}"), lambda error: None)
        until = time.monotonic() + 3.0
        while time.monotonic() < until:
            client.poll(0.05)
    lines = [record.getMessage() for record in caplog.records if f":{port}" in record.getMessage()]
    assert len(lines) == 1
    assert "Connection refused" in lines[0]
