"""Two twin processes share four datacenters: one joins, the other is killed, and no window is lost or there twice."""

from __future__ import annotations

import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from stream_chaos import Process, contents, differences, fresh_topics

from opendt.errors import OpenDTError
from opendt.lake import Lake
from opendt.settings import LakeSettings
from opendt.stream.testing import LocalKafka
from opendt.traces.synthetic.generate import make_trace
from opendt.traces.synthetic.options import SyntheticOptions

pytestmark = [pytest.mark.java, pytest.mark.slow, pytest.mark.timeout(1200)]
DATACENTERS = ("east", "north", "south", "west")
WINDOWS = 24
LONGEST_S = 300.0


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("share") / "trace"
    make_trace(folder, SyntheticOptions(days=1, hosts=6, seed=8, tasks_per_day=120))
    return folder


class Fleet:
    """Topics, a lake, a producer for every datacenter, and workers."""

    def __init__(self, server: LocalKafka, trace: Path, folder: Path) -> None:
        folder.mkdir()
        self._trace, self._folder, self._lake = trace, folder, folder / "lake"
        self._config = folder / "config.yaml"
        settings = {
            "stream": {"bootstrap_servers": server.address, "topics": fresh_topics()},
            "lake": {"path": str(self._lake)},
            "prefect": {"port": 1},
        }
        self._config.write_text(yaml.safe_dump(settings))
        self._processes: list[Process] = []

    def _start(self, name: str, *arguments: str) -> Process:
        command = [str(Path(sys.executable).with_name("opendt")), *arguments, "--config", str(self._config), "--json"]
        process = Process(name, command, self._folder / f"{name}.log")
        process.start()
        self._processes.append(process)
        return process

    def producer(self, speed: float) -> Process:
        """One process that replays the trace as every datacenter."""
        each = [part for name in DATACENTERS for part in ("--trace", str(self._trace), "--datacenter", name)]
        return self._start("producer", "replay", *each, "--replay-id", "r1", "--speed", str(speed))

    def worker(self, name: str) -> Process:
        """A twin that shares them."""
        topology = self._trace / "topology.json"
        shared = [part for datacenter in DATACENTERS for part in ("--share", f"{datacenter}={topology}")]
        return self._start(name, "twin", "--run-id", "fleet", *shared)

    def windows(self) -> list[int]:
        """Windows committed per datacenter."""
        try:
            with Lake.open(LakeSettings(path=self._lake), read_only=True) as lake:
                return [len(lake.committed_windows("fleet", name)) for name in DATACENTERS]
        except OpenDTError:
            return [0] * len(DATACENTERS)  # not there yet

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait, noticing processes that fail."""
        deadline = time.monotonic() + LONGEST_S
        while not condition():
            if done(*self._processes):
                assert condition(), "everything has ended"
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.2)

    def found(self) -> dict[str, list[dict]]:
        """What the lake holds."""
        return contents(self._lake)

    def close(self) -> None:
        """Kill what still runs."""
        for process in self._processes:
            process.kill()

    def kill(self, process: Process) -> None:
        """Kill -9 it for good."""
        self._processes.remove(process)
        process.kill()


@pytest.fixture
def fleet(kafka_server: LocalKafka, trace: Path, tmp_path: Path) -> Iterator[Callable[[str], Fleet]]:
    fleets: list[Fleet] = []

    def make(name: str) -> Fleet:
        fleets.append(Fleet(kafka_server, trace, tmp_path / name))
        return fleets[-1]

    yield make
    for each in fleets:
        each.close()


def done(*processes: Process) -> bool:
    """Whether all of them have ended well."""
    ended = [process.completed() for process in processes]  # each is looked at
    return all(ended)


def said(process: Process, what: str) -> dict[str, int]:
    """Window by datacenter in the lines of a worker's log that say this."""
    lines = re.findall(rf"(\w+): {what} window (\d+)", process.log.read_text())
    return {name: int(window) for name, window in lines}


def test_a_second_worker_takes_over_half_and_after_a_kill_everything(fleet):
    alone = fleet("alone")
    workers = [alone.producer(-1), alone.worker("a")]
    alone.until(lambda: done(*workers))

    shared = fleet("shared")
    producer, first = shared.producer(speed=86_400 / 40.0), shared.worker("a")
    shared.until(lambda: min(shared.windows()) >= 2)
    producer.signal(signal.SIGUSR1)  # pauses it, however long the second worker takes to start
    second = shared.worker("b")
    shared.until(lambda: "sharing" in second.log.read_text())
    producer.signal(signal.SIGUSR1)
    shared.until(lambda: len(said(second, "following from")) == 2)
    handed_over, taken_over = said(first, "handed over before"), said(second, "following from")
    assert handed_over == taken_over, "the second goes on exactly where the first stopped"
    assert min(taken_over.values()) >= 2

    before = shared.windows()
    shared.until(lambda: sum(shared.windows()) >= sum(before) + 4)
    assert len(said(second, "following from")) == 2, "what the first kept stays with it"
    shared.kill(first)
    survivors = [producer, second]
    shared.until(lambda: done(*survivors))

    assert set(said(second, "following from")) == set(DATACENTERS)
    assert differences(alone.found(), shared.found()) == []
    assert min(shared.windows()) >= WINDOWS


def test_sigterm_ends_a_worker_and_its_runs_can_be_taken_up_again(fleet):
    quiet = fleet("quiet")
    worker = quiet.worker("a")
    quiet.until(lambda: len(said(worker, "following from")) == len(DATACENTERS))
    worker.signal(signal.SIGTERM)
    quiet.until(lambda: worker.code is not None)
    assert worker.code == 0
    states = {row["datacenter"]: row["state"] for row in quiet.found()["runs"]}
    assert states == dict.fromkeys(DATACENTERS, "cancelled")
