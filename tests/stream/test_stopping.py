"""Stopping, also when brokers are gone. Nothing may wait for ever."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from opendt.settings import StreamSettings, WindowSettings
from opendt.stream import kafka
from opendt.stream.source import open_windows

BROKER = [sys.executable, "-m", "opendt.stream.embedded"]


@pytest.fixture
def mortal():
    """An embedded broker's process, to be killed, and settings for it."""
    process = subprocess.Popen(BROKER, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        yield process, StreamSettings(bootstrap_servers=process.stdout.readline().decode().strip())
        process.kill()


def test_closing_is_bounded_when_the_broker_was_killed(mortal, trace, send):
    process, settings = mortal
    send(trace, settings).join()
    stream = open_windows(settings, WindowSettings(), "dc", "r1")
    next(stream)
    process.kill()
    process.wait()
    began = time.monotonic()
    stream.close()
    assert time.monotonic() - began < kafka.CLOSE_S + 2
    stream.close()  # again: nothing left to do


def test_closing_does_not_wait_when_the_broker_is_there(embedded, trace, send):
    send(trace, embedded).join()
    with open_windows(embedded, WindowSettings(), "dc", "r1") as stream:
        next(stream)
        read = {where: offset for where, offset in stream.windower.ledger.progress().items() if offset > 0}
    client = kafka.consumer(embedded, "opendt.dc.r1")
    assert read
    assert kafka.committed(client, read, embedded) == read  # the last commit has come through
    kafka.close(client)
