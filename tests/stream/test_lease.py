"""One of several twins works; the next takes over when it goes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from opendt.errors import BrokerUnavailableError, ConfigError
from opendt.stream.lease import Lease

WORKER = """
import sys, time
from opendt.settings import StreamSettings
from opendt.stream.lease import Lease
lease = Lease(StreamSettings.model_validate_json(sys.argv[1]), "twin", session_s=6.0)
lease.acquire(60)
print("held", flush=True)
time.sleep(120)
"""


@pytest.mark.java
def test_a_second_process_waits_until_the_first_gives_up(real):
    with Lease(real, "twin") as first:
        first.acquire(30)
        with Lease(real, "twin") as second:
            with pytest.raises(BrokerUnavailableError, match="another process held it"):
                second.acquire(1.0)
            assert first.held
            first.release()
            assert not first.held
            second.acquire(30)
            assert second.held


@pytest.mark.java
def test_leases_of_other_names_are_free(real):
    with Lease(real, "north") as north, Lease(real, "south") as south:
        north.acquire(30)
        south.acquire(30)


def test_on_the_embedded_broker_there_is_none(embedded):
    with pytest.raises(ConfigError, match="has one partition"):
        Lease(embedded, "twin")


@pytest.mark.java
def test_a_killed_process_loses_it(real):
    command = [sys.executable, "-c", WORKER, real.model_dump_json()]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"held\n"
        with Lease(real, "twin") as second:
            os.kill(process.pid, signal.SIGKILL)
            second.acquire(40)
            assert second.held
    finally:
        process.kill()
        process.wait()
