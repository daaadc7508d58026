"""Replay: a trace into Kafka on one clock, restartable without repeating or losing a record."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any
from zlib import crc32

import orjson

from opendt.errors import InputError, OpenDTError
from opendt.settings import StreamSettings
from opendt.stream import kafka, topics
from opendt.stream.ahead import Ahead
from opendt.stream.envelope import DATACENTER, REPLAY, SENT, SEQUENCE
from opendt.stream.layouts import PlannedLayout, layout_of
from opendt.stream.pacing import Clock, Pacer, SystemClock
from opendt.stream.resume import last_sequences
from opendt.stream.schedule import Message, Replayable
from opendt.stream.selection import round_of

_CHECK_EVERY = 512  # messages between looks at the stop flag, delivery errors and progress
_PROGRESS_S = 0.2


@dataclass(frozen=True, slots=True)
class ReplayProgress:
    """How far a replay is: trace time of the last record sent, records sent of all, lag behind the speed."""

    time_ms: int
    messages: int
    total: int
    payload_bytes: int
    lag_s: float


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What a replay sent.

    Attributes:
        messages: records sent now, end markers included; ``skipped`` had been sent before a restart.
        payload_bytes: bytes of their values before compression.
        max_lag_s: largest delay behind the configured speed; 0 at full speed.
        drift_pct: by how much the whole replay took longer than the speed asked for, null at full speed.
        state: completed, or stopped when it was told to stop (then there are no end markers).
    """

    replay_id: str
    datacenter: str
    layout: str
    speed: float
    messages: int
    skipped: int
    payload_bytes: int
    max_lag_s: float
    drift_pct: float | None
    state: str
    started_ms: int
    ended_ms: int
    wall_s: float

    def as_dict(self) -> dict[str, Any]:
        """The report as plain values."""
        return asdict(self)


def new_replay_id() -> str:
    """An identifier for a replay."""
    return f"replay-{uuid.uuid4().hex[:12]}"


class Replay:
    """Sends a trace: workload, power and topology, heartbeats to every silent partition, an end marker to each.

    Args:
        trace: what to send (``workload``, ``power``, ``topology``).
        settings: broker, topics, layout, speed.
        datacenter: identifier, part of keys and headers.
        replay_id: the same id sends the same records with the same sequence numbers.
        start_sequences: first sequence number wanted per (topic, partition); None finds the last ones of this
            replay id in the topics and goes on after them; {} starts from the beginning.
        loop: how many times to send the trace, one round after another at whole hours.
        clock: where time comes from.
        on_progress: called a few times per second.
    """

    def __init__(
        self,
        trace: Replayable,
        settings: StreamSettings,
        datacenter: str,
        replay_id: str,
        *,
        start_sequences: Mapping[tuple[str, int], int] | None = None,
        loop: int = 1,
        clock: Clock | None = None,
        on_progress: Callable[[ReplayProgress], None] | None = None,
    ) -> None:
        self._trace, self._settings, self._datacenter, self._id = trace, settings, datacenter, replay_id
        if loop < 1:
            raise InputError(f"loop is {loop}; must be at least 1.")
        self._given, self._loop = start_sequences, loop
        self._clock = clock or SystemClock()
        self._on_progress = on_progress
        self._pacer = Pacer(settings.speed, self._clock)
        self._stop = threading.Event()
        self._failure: OpenDTError | None = None
        self._marks: dict[tuple[str, int], list[int]] = {}
        self._start: dict[tuple[str, int], int] = {}
        self._counts: dict[str, int] = {}
        self._messages = self._skipped = self._bytes = self._begin_ms = 0
        self._next_report = 0.0

    def stop(self) -> None:
        """Stop after the current record; what was sent is flushed. Safe in signal handlers and other threads."""
        self._stop.set()

    def pause(self) -> None:
        """Hold back until ``resume``."""
        self._pacer.pause()

    def resume(self) -> None:
        """Go on after ``pause``."""
        self._pacer.resume()

    def run(self) -> ReplayReport:
        """Send everything and wait until the broker has it.

        Raises:
            ConfigError: a topic contradicts the configuration.
            BrokerUnavailableError: the broker, or on the embedded one the reader, went silent.
            TerminalError: a record was refused.
        """
        started_ms, began = self._clock.wall_ms(), self._clock.monotonic()
        topics.ensure(self._settings)
        client = kafka.producer(self._settings, self._fail)
        cluster = kafka.cluster_id(client, self._settings)
        counts = self._partition_counts(client)
        self._prepare(counts, embedded=kafka.is_embedded(cluster))
        ahead = None
        if kafka.is_embedded(cluster):
            ahead = Ahead(self._settings, topics.group_id(self._datacenter, self._id), self._clock)
        try:
            for number in range(self._loop):
                layout = layout_of(round_of(self._trace, number), self._settings, self._datacenter, counts)
                self._begin_ms = layout.begin_ms if number == 0 else self._begin_ms
                self._run_lanes(client, layout, ahead)
                if self._stop.is_set():
                    break
            else:
                self._send_ends(client, layout, ahead)
            self._flush(client)
        finally:
            if ahead is not None:
                ahead.close()
        wall_s = self._clock.monotonic() - began
        return self._report(layout, started_ms, wall_s)

    def _partition_counts(self, client: Any) -> dict[str, int]:
        names = {*topics.data_topics(self._settings), self._settings.topics.topology}
        return {name: kafka.partition_count(client, name, self._settings) for name in sorted(names)}

    def _prepare(self, counts: Mapping[str, int], *, embedded: bool) -> None:
        partitions = [(name, p) for name, count in counts.items() for p in range(count)]
        if self._given is not None:
            self._start = dict(self._given)
        elif not embedded:
            self._start = last_sequences(self._settings, self._id, partitions)
        self._marks = {where: [0, 0] for where in partitions}
        self._counts = dict(counts)
        self._headers = (REPLAY, self._id.encode()), (DATACENTER, self._datacenter.encode())

    def _run_lanes(self, client: Any, layout: PlannedLayout, ahead: Ahead | None) -> None:
        lanes = layout.lanes()
        if len(lanes) == 1:
            self._send_lane(client, layout, lanes[0], ahead)
            return
        barrier = threading.Barrier(len(lanes))

        def run(lane: Iterator[Message]) -> None:
            try:
                barrier.wait()
                self._send_lane(client, layout, lane, ahead)
            except OpenDTError as error:
                self._fail(error)

        threads = [threading.Thread(target=run, args=(lane,), daemon=True) for lane in lanes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._raise_failure()

    def _send_lane(self, client: Any, layout: PlannedLayout, lane: Iterator[Message], ahead: Ahead | None) -> None:
        paced = self._settings.speed > 0
        for number, message in enumerate(lane):
            again = paced and self._was_sent(message)  # before a restart: nothing to wait for
            if (paced and not again) or number % _CHECK_EVERY == 0:
                if not again:
                    self._wait_until_due(client, message.time_ms)
                self._housekeeping(client, layout, message.time_ms)
                if self._stop.is_set() or self._failure is not None:
                    return
            self._send(client, message, ahead)

    def _was_sent(self, message: Message) -> bool:
        where = (message.topic, message.partition)
        mark = self._marks.get(where)
        return (mark[0] if mark else 0) < self._start.get(where, 0)

    def _send(self, client: Any, message: Message, ahead: Ahead | None) -> None:
        time_ms, topic, partition, key, value, extra, tells = message
        where = (topic, partition)
        mark = self._marks.get(where)
        if mark is None:
            mark = self._marks[where] = [0, 0]
        sequence = mark[0]
        mark[0] = sequence + 1
        mark[1] = crc32(value, mark[1])
        if sequence < self._start.get(where, 0):
            self._skipped += 1
            return
        replay, datacenter = self._headers
        headers = [replay, (SEQUENCE, b"%d" % sequence), datacenter]
        if extra:
            headers += extra
        if tells:
            headers.append((SENT, self._sent(time_ms, tells)))
        if ahead is not None and ahead.sent(topic, partition, len(value)):
            ahead.wait(lambda: client.poll(0), self._stopping)
        while True:
            try:
                client.produce(topic, value, key, partition, headers=headers)
                break
            except kafka.QueueFull:
                client.poll(0.05)
                self._raise_failure()
        self._messages += 1
        self._bytes += len(value)

    def _sent(self, time_ms: int, topics: tuple[str, ...]) -> bytes:
        """How many records were sent to each partition of some topics, this one included."""
        counts = {topic: [self._marks[topic, p][0] for p in range(self._counts[topic])] for topic in topics}
        return orjson.dumps([time_ms, counts])

    def _stopping(self) -> bool:
        return self._stop.is_set() or self._failure is not None

    def _wait_until_due(self, client: Any, time_ms: int) -> None:
        while (wait_s := self._pacer.wait_s(time_ms)) > 0 and not self._stopping():
            client.poll(0)
            self._clock.sleep(min(wait_s, 0.1))

    def _housekeeping(self, client: Any, layout: PlannedLayout, time_ms: int) -> None:
        client.poll(0)
        now = self._clock.monotonic()
        if self._on_progress is not None and now >= self._next_report:
            self._next_report = now + _PROGRESS_S
            total = len(layout) * self._loop
            done = min(self._messages + self._skipped, total)
            self._on_progress(ReplayProgress(time_ms, done, total, self._bytes, self._pacer.lag_s))

    def _send_ends(self, client: Any, layout: PlannedLayout, ahead: Ahead | None) -> None:
        self._raise_failure()
        counts = {where: (mark[0], mark[1]) for where, mark in self._marks.items()}
        for message in layout.ends(self._id, counts):
            self._send(client, message, ahead)

    def _flush(self, client: Any) -> None:
        while client.flush(1.0) > 0:
            self._raise_failure()
        client.poll(0)
        self._raise_failure()

    def _fail(self, error: OpenDTError) -> None:
        self._failure = self._failure or error

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _report(self, layout: PlannedLayout, started_ms: int, wall_s: float) -> ReplayReport:
        speed, span_s = self._settings.speed, (layout.end_ms - self._begin_ms) / 1000
        stopped = self._stop.is_set()
        wanted_s = span_s / speed if speed > 0 else 0.0
        drift = (wall_s / wanted_s - 1) * 100 if wanted_s > 0 and not stopped and not self._skipped else None
        return ReplayReport(
            replay_id=self._id,
            datacenter=self._datacenter,
            layout=self._settings.layout,
            speed=speed,
            messages=self._messages,
            skipped=self._skipped,
            payload_bytes=self._bytes,
            max_lag_s=self._pacer.max_lag_s,
            drift_pct=drift,
            state="stopped" if stopped else "completed",
            started_ms=started_ms,
            ended_ms=self._clock.wall_ms(),
            wall_s=wall_s,
        )
