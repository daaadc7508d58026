"""Stopping: signals to a whole process group, parents that die, brokers that are gone. Nothing may wait for ever."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from confluent_kafka import KafkaError

from opendt.errors import BrokerUnavailableError, OpenDTError
from opendt.lake import Lake
from opendt.models.messages import DeadLetter
from opendt.settings import LakeSettings, StreamSettings, WindowSettings
from opendt.stream import kafka, topics
from opendt.stream.deadletters import DeadLetterTopic
from opendt.stream.source import open_windows
from opendt.traces.synthetic.generate import make_trace as generate
from opendt.traces.synthetic.options import SyntheticOptions

BROKER = [sys.executable, "-m", "opendt.stream.embedded"]
PARENT = f"import subprocess; child = subprocess.Popen({BROKER!r}); print(child.pid, flush=True); child.wait()"
WINDOWS = 24


def until(happened, timeout_s):
    deadline = time.monotonic() + timeout_s
    while not (found := happened()):
        assert time.monotonic() < deadline, f"did not happen within {timeout_s} s"
        time.sleep(0.05)
    return found


def answers(address):
    host, port = address.split(":")
    try:
        socket.create_connection((host, int(port)), 1).close()
    except OSError:
        return False
    return True


@pytest.fixture
def mortal():
    """An embedded broker's process, to be killed, and settings for it."""
    process = subprocess.Popen(BROKER, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        yield process, StreamSettings(bootstrap_servers=process.stdout.readline().decode().strip())
        process.kill()


def test_a_broker_the_client_has_let_go_of_may_come_back():
    """What the client says when a broker goes while it is asked for offsets."""
    error = kafka.KafkaException(KafkaError(KafkaError._DESTROY_BROKER))
    error = kafka.error_of(error, StreamSettings(bootstrap_servers="b:1"), "asking")
    assert isinstance(error, BrokerUnavailableError)


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


def test_dead_letters_are_not_waited_for_long_when_the_broker_is_gone(mortal, caplog):
    process, settings = mortal
    letters = DeadLetterTopic(settings, "dc")
    letters.send([DeadLetter("dc.power", 0, 1, "not JSON", b"?", 1)])
    process.kill()
    process.wait()
    letters.send([DeadLetter("dc.power", 0, offset, "not JSON", b"?", 1) for offset in range(2, 5)])
    began = time.monotonic()
    letters.close()
    assert time.monotonic() - began < 8
    assert re.search(r"[34] dead letters not sent on", caplog.text), "the loss is told"


def test_a_broker_gone_while_groups_are_listed_is_an_error_of_ours(mortal, monkeypatch):
    process, settings = mortal
    monkeypatch.setattr(kafka, "TIMEOUT_S", 1.0)
    monkeypatch.setattr(kafka, "cluster_id", lambda client, settings: "a real one, which has just answered")
    process.kill()
    process.wait()
    with pytest.raises(BrokerUnavailableError, match="listing consumer groups"):
        topics.active_groups(settings, "opendt")


def test_closing_does_not_wait_when_the_broker_is_there(embedded, trace, send):
    send(trace, embedded).join()
    with open_windows(embedded, WindowSettings(), "dc", "r1") as stream:
        next(stream)
        read = {where: offset for where, offset in stream.windower.ledger.progress().items() if offset > 0}
    client = kafka.consumer(embedded, "opendt.dc.r1")
    assert read
    assert kafka.committed(client, read, embedded) == read  # the last commit has come through
    kafka.close(client)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only the end of its input tells a process")
def test_the_broker_leaves_sigterm_to_its_parent_and_ends_with_it():
    """Its input is ours and stays open, so that only the parent's end can end it."""
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with parent:
        child, address = int(parent.stdout.readline()), parent.stdout.readline().decode().strip()
        os.kill(child, signal.SIGTERM)
        time.sleep(0.5)
        assert answers(address)
        parent.kill()
        until(lambda: not answers(address), 5)


class Twin:
    """``opendt run`` with an embedded broker, in a process group of its own."""

    def __init__(self, folder: Path, trace: Path) -> None:
        self._lake, self._log = folder / "lake", folder / "log.txt"
        config = folder / "config.yaml"
        config.write_text(yaml.safe_dump({"lake": {"path": str(self._lake)}, "prefect": {"port": 1}}))
        self._command = [str(Path(sys.executable).with_name("opendt")), "run", "--trace", str(trace), "--run-id", "one",
                         "--config", str(config)]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, speed: float) -> None:
        """Start it, or resume it."""
        environment = {name: value for name, value in os.environ.items() if name != "KAFKA_BOOTSTRAP_SERVERS"}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._command, "--speed", str(speed)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=environment,
            )  # fmt: skip

    def signal_group(self, number: int) -> None:
        """What ``timeout``, a service manager or CI does."""
        os.killpg(self._process.pid, number)

    def code(self, timeout_s: float) -> int:
        """Its exit code, as soon as it has ended."""
        return self._process.wait(timeout_s)

    def end(self) -> None:
        """Leave nothing behind."""
        if self._process is not None and self._process.poll() is None:
            self.signal_group(signal.SIGKILL)
            self._process.wait()

    def rows(self, statement: str) -> list[dict]:
        """Of its lake; none before there is one."""
        assert self._process.poll() in (None, 0, 130), self._log.read_text()[-3000:]
        try:
            with Lake.open(LakeSettings(path=self._lake), read_only=True) as lake:
                return lake.rows(statement)
        except OpenDTError:
            return []

    def windows(self) -> list[int]:
        """Numbers of the windows committed."""
        return [row["window_index"] for row in self.rows("SELECT window_index FROM windows ORDER BY ALL")]


@pytest.fixture
def twin(tmp_path):
    generate(tmp_path / "trace", SyntheticOptions(days=1, hosts=6, seed=8, tasks_per_day=120))
    run = Twin(tmp_path, tmp_path / "trace")
    yield run
    run.end()


@pytest.mark.slow
def test_sigterm_to_the_whole_group_cancels_a_run_that_can_be_resumed(twin):
    twin.start(speed=3600.0)
    until(lambda: len(twin.windows()) >= 2, 60)
    twin.signal_group(signal.SIGTERM)
    assert twin.code(timeout_s=10) == 130
    assert [row["state"] for row in twin.rows("SELECT state FROM runs")] == ["cancelled"]
    before = twin.windows()
    assert len(before) < WINDOWS
    twin.start(speed=-1)
    assert twin.code(timeout_s=120) == 0
    assert [row["state"] for row in twin.rows("SELECT state FROM runs")] == ["completed"]
    after = twin.windows()
    assert after == list(range(len(after)))
    assert len(after) >= WINDOWS
