"""Brokers, tiny traces, and a producer running beside the consumer under test."""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from opendt.errors import MissingDependencyError
from opendt.models.telemetry import PowerSeries
from opendt.models.topology import Topology, parse_topology
from opendt.models.workload import Fragments, Workload, make_tasks, with_fragment_facts
from opendt.settings import StreamSettings, TopicSettings
from opendt.stream.broker import embedded_broker
from opendt.stream.replay import Replay, ReplayReport
from opendt.stream.testing import LocalKafka, local_kafka, resolve

# The driver of `make chaos`, under a name of its own, so that a test can import it whatever the import mode.
_spec = importlib.util.spec_from_file_location("stream_chaos", Path(__file__).with_name("chaos.py"))
assert _spec is not None
assert _spec.loader is not None
sys.modules[_spec.name] = _module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)

HOUR_MS = 3_600_000
ORIGIN_MS = 1_665_093_600_000  # 2022-10-06T22:00:00Z


@dataclass(frozen=True)
class SmallTrace:
    """What a replay needs of a trace."""

    workload: Workload
    power: PowerSeries | None
    topology: Topology | None


def small_topology(cores: int = 16) -> Topology:
    """One host."""
    host = {"cpu": {"coreCount": cores, "coreSpeed": 2100}, "memory": {"memorySize": "128 GiB"}}
    return parse_topology({"clusters": [{"hosts": [host]}]})


def make_trace(seed: int = 1, tasks: int = 60, hours: float = 4.0, most_fragments: int = 400) -> SmallTrace:
    """Random tasks over some hours: some without fragments, some longer than a window; power every 30 s."""
    random = np.random.default_rng(seed)
    submission = ORIGIN_MS + np.sort(random.integers(0, int(hours * HOUR_MS), tasks))
    submission[0] = ORIGIN_MS
    submission[5:8] = submission[5]  # equal submission times keep file order
    count = random.integers(0, most_fragments, tasks)
    count[1] = 0
    numbers = np.arange(1000, 1000 + tasks)
    owner = np.repeat(numbers, count)
    durations = random.choice([0, 15_000, 30_000, 45_000], len(owner), p=[0.01, 0.1, 0.79, 0.1])
    usage = np.where(random.random(len(owner)) < 0.05, 0.0, random.random(len(owner)) * 33_600)
    usage[owner == numbers[2]] = 33_600.0  # constant columns are sent as one number
    fragments = Fragments(owner, durations, usage, np.zeros(len(owner)))
    total = np.bincount(np.searchsorted(numbers, owner), weights=durations, minlength=tasks).astype(np.int64)
    columns = {
        "duration_ms": total,
        "cpu_count": random.integers(1, 17, tasks).astype(np.int32),
        "cpu_capacity_mhz": np.full(tasks, 2100.0),
        "mem_capacity": random.integers(0, 10**6, tasks),
    }
    times = np.arange(ORIGIN_MS, ORIGIN_MS + int(hours * HOUR_MS), 30_000, dtype=np.int64)
    power = PowerSeries(times, 20_000 + random.random(len(times)) * 1000)
    workload = Workload(with_fragment_facts(make_tasks(numbers, submission, **columns), fragments), fragments)
    return SmallTrace(workload, power, small_topology())


@pytest.fixture(scope="session")
def trace() -> SmallTrace:
    """A few hours of a small cluster."""
    return make_trace()


@pytest.fixture(scope="session")
def make() -> Callable[..., SmallTrace]:
    """``make_trace``."""
    return make_trace


@pytest.fixture(scope="session")
def embedded_address() -> Iterator[str]:
    """Address of an embedded broker shared by the tests; topics keep them apart."""
    with embedded_broker() as address:
        yield address


def fresh_topics() -> TopicSettings:
    """Topic names nobody has used."""
    tag = uuid.uuid4().hex[:8]
    names = {name: f"{field.default}.{tag}" for name, field in TopicSettings.model_fields.items()}
    return TopicSettings(**names)


@pytest.fixture
def embedded(embedded_address: str) -> StreamSettings:
    """Settings for the embedded broker with topics of their own."""
    return StreamSettings(bootstrap_servers=embedded_address, topics=fresh_topics(), poll_timeout_s=10.0)


@pytest.fixture(scope="session")
def kafka_server() -> Iterator[LocalKafka]:
    """A real Apache Kafka; tests are skipped where none can be started, unless OPENDT_REQUIRE_KAFKA is set."""
    cache = Path(os.environ.get("OPENDT_CACHE", Path(__file__).parents[2] / ".cache")) / "kafka"
    try:
        resolve(cache)
    except MissingDependencyError as error:
        if os.environ.get("OPENDT_REQUIRE_KAFKA"):
            raise
        pytest.skip(error.message)
    with local_kafka(cache) as server:
        yield server


@pytest.fixture
def real(kafka_server: LocalKafka) -> StreamSettings:
    """Settings for the real broker with topics of their own."""
    return StreamSettings(bootstrap_servers=kafka_server.address, topics=fresh_topics(), poll_timeout_s=10.0)


@pytest.fixture(params=["embedded", pytest.param("real", marks=pytest.mark.java)])
def settings(request: pytest.FixtureRequest) -> StreamSettings:
    """Settings for either broker: what both must do alike."""
    return request.getfixturevalue(request.param)


class RushingClock:
    """A clock on which a second passes at every look, and sleeping costs nothing."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        """Seconds."""
        self.now += 1.0
        return self.now

    def wall_ms(self) -> int:
        """Epoch ms."""
        return int(self.now * 1000)

    def sleep(self, seconds: float) -> None:
        """Nothing to wait for."""
        self.now += seconds


@pytest.fixture
def send_part(send: Callable[..., Sender]) -> Callable[..., ReplayReport]:
    """Send a replay up to its first look at the time after ``messages`` records, as if it had been told to stop."""

    def run(trace: SmallTrace, settings: StreamSettings, messages: int, **more) -> ReplayReport:
        replay: list[Replay] = []

        def look(progress) -> None:
            if progress.messages >= messages:
                replay[0].stop()

        replay.append(Replay(trace, settings, "dc", "r1", clock=RushingClock(), on_progress=look, **more))
        return replay[0].run()

    return run


class Sender:
    """A replay in a thread; joining gives its report or raises its error."""

    def __init__(self, replay: Replay) -> None:
        self.replay = replay
        self._report: ReplayReport | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._report = self.replay.run()
        except BaseException as error:
            self._error = error

    def join(self) -> ReplayReport:
        """The report."""
        self._thread.join(60)
        if self._error is not None:
            raise self._error
        assert self._report is not None, "the replay did not end"
        return self._report


@pytest.fixture
def send() -> Iterator[Callable[..., Sender]]:
    """Start a replay beside the test: ``send(trace, settings, datacenter, replay_id, ...)``."""
    senders: list[Sender] = []

    def start(trace: SmallTrace, settings: StreamSettings, datacenter: str = "dc", replay_id: str = "r1", **more):
        senders.append(Sender(Replay(trace, settings, datacenter, replay_id, **more)))
        return senders[-1]

    yield start
    for sender in senders:
        sender.replay.stop()
        sender._thread.join(10)
