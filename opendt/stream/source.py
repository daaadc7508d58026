"""The consumer: Kafka partitions in, event-time windows out."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from opendt.errors import BrokerUnavailableError, StreamGapError
from opendt.models.messages import Partition, StreamPosition
from opendt.settings import StreamSettings, WindowSettings
from opendt.stream import kafka, topics
from opendt.stream.catchup import CatchUp
from opendt.stream.deadletters import DeadLetterTopic
from opendt.stream.layouts import decoder_of
from opendt.stream.ordered import OrderedTopics
from opendt.stream.pacing import Clock, SystemClock
from opendt.stream.reader import Reader
from opendt.windows.batch import WindowBatch
from opendt.windows.windower import Windower

log = logging.getLogger(__name__)

_POLL_S = 0.01
_COMMIT_BYTES = 400_000
_COMMIT_S = 0.05
_AHEAD_HEARTBEATS = 2
_HELD_BYTES = 128_000_000  # memory of records waiting for their window above which partitions far ahead are paused


class WindowStream:
    """An iterator of ``WindowBatch`` and a context manager; made by ``open_windows``."""

    def __init__(
        self,
        settings: StreamSettings,
        windows: WindowSettings,
        datacenter: str,
        replay_id: str | None,
        position: StreamPosition | None,
        first_index: int,
        clock: Clock | None = None,
        since_ms: int | None = None,
    ) -> None:
        self._settings, self._clock, self._replay = settings, clock or SystemClock(), replay_id
        topics.ensure(settings)
        self._client = kafka.consumer(settings, topics.group_id(datacenter, replay_id))
        # Questions of its own connection: on the reader's, each answer waits for a fetch that waits for records.
        self._asking = kafka.consumer(settings, topics.group_id(datacenter, replay_id))
        cluster = kafka.cluster_id(self._client, settings)
        data = self._partitions(clock_topics := topics.clock_topics(settings, foreign=replay_id is None))
        watched = (settings.topics.topology, settings.topics.sim_topology)
        unclocked = tuple(name for name in topics.data_topics(settings) if name not in clock_topics)
        others = self._partitions((*watched, *unclocked))
        topologies = [where for where in others if where[0] in watched]
        self._catch_up = CatchUp(topologies, windows.length_s * 1000, settings)
        longest_row_ms = round(settings.v0_longest_fragment_s * 1000) if settings.layout == "opendt-v0" else 0
        self.windower = Windower(data, others, windows, cluster, position, first_index, longest_row_ms)
        told = settings.layout == "columns" or replay_id is not None  # a replay of ours says how far it has come
        self._ordered = None if told else OrderedTopics(data, settings)
        self._reader = Reader(self.windower, decoder_of(settings), settings, datacenter, replay_id, frozenset(watched))
        same = position if position is not None and position.cluster == cluster else None
        starts = self._starts([*data, *others], same, None if kafka.is_embedded(cluster) else since_ms)
        self.windower.ledger.begin(starts)
        kafka.assign(self._client, starts)
        self._dead_letters = DeadLetterTopic(settings, datacenter)
        self._stop = threading.Event()
        self._uncommitted_bytes, self._committed_at = 0, self._clock.monotonic()
        self._heard_at, self._heard = self._clock.monotonic(), False
        self._paused: set[Partition] = set()
        self._removed: dict[Partition, int] = {}

    def __enter__(self) -> WindowStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[WindowBatch]:
        return self

    def __next__(self) -> WindowBatch:
        """The next window, as soon as it is closed. Raises like ``next_within``."""
        batch = self.next_within(None)
        if batch is None:
            raise StopIteration
        return batch

    def next_within(self, wait_s: float | None) -> WindowBatch | None:
        """The next window, as soon as it is closed; None when the stream has ended or none was closed in time.

        Args:
            wait_s: how long to wait [s]; None until there is one.

        Raises:
            StreamGapError: records are missing.
            BrokerUnavailableError: the broker is out of reach, or a replay fell silent.
        """
        until_s = None if wait_s is None else self._clock.monotonic() + wait_s
        while not self._stop.is_set():
            batch = self.windower.next_batch() if self._topologies_read() else None
            if batch is not None:
                self._dead_letters.send(batch.dead)
                return batch
            if self.windower.finished or (until_s is not None and self._clock.monotonic() >= until_s):
                break
            self._poll()
        return None

    def _topologies_read(self) -> bool:
        read = self.windower.ledger.progress()
        return self._catch_up.complete(self._asking, self.windower.watermark, read, self._clock.monotonic())

    def stop(self) -> None:
        """Make the iteration end before the next window. Safe in signal handlers and other threads."""
        self._stop.set()

    def close(self) -> None:
        """Tell the group how far reading came and leave; within seconds, also when the broker is gone."""
        if self._client is not None:
            client, self._client = self._client, None
            kafka.commit(client, self.windower.ledger.progress())
            kafka.close(client, self._asking)
            self._dead_letters.close()

    def _partitions(self, names: tuple[str, ...]) -> list[Partition]:
        return [(name, p) for name in names for p in range(kafka.partition_count(self._client, name, self._settings))]

    def _starts(
        self, partitions: list[Partition], position: StreamPosition | None, since_ms: int | None
    ) -> dict[Partition, int]:
        """Offsets to start at: the position's, else those of a time, else the beginning; of old topology decisions, a
        replay sees none."""
        starts = {}
        for where in partitions:
            if position is not None and where in position.offsets:
                starts[where] = position.offsets[where]
                continue
            low, high = kafka.watermarks(self._client, *where, self._settings)
            decided = where[0] == self._settings.topics.sim_topology and self._replay is not None
            starts[where] = high if decided else low
            if since_ms is not None and low < high:  # what comes after ``high`` was asked for is read in any case
                at = kafka.offset_at(self._client, *where, since_ms, self._settings)
                starts[where] = max(starts[where], high if at is None else min(at, high))
        return starts

    def _poll(self) -> None:
        on_removed = None if self._replay is None else self._go_on_at_the_beginning
        with _no_garbage():
            # Nothing holds the messages longer than this, or the collector would look at each when it goes on.
            taken = self._reader.take(kafka.poll(self._client, self._settings, _POLL_S, on_removed=on_removed))
        now = self._clock.monotonic()
        if taken is not None:
            self._uncommitted_bytes += taken
            self._heard_at, self._heard = now, True
        else:
            self._check_silence(now)
        if self._ordered is not None and not self._reader.promises.made:
            self._ordered.update(self._asking, self.windower.watermark, self.windower.ledger.progress(), now)
        if self._uncommitted_bytes >= _COMMIT_BYTES or (taken is not None and now - self._committed_at >= _COMMIT_S):
            kafka.commit(self._client, self.windower.ledger.progress())
            self._uncommitted_bytes, self._committed_at = 0, now
        self._balance()

    def _go_on_at_the_beginning(self, topic: str, partition: int) -> None:
        """The broker removed what we were to read next. If any of it was of our replay, its sequence numbers tell."""
        low, _ = kafka.watermarks(self._client, topic, partition, self._settings)
        log.info("%s[%d]: records before offset %d were removed; reading on from there", topic, partition, low)
        kafka.restart(self._client, topic, partition, low, self._settings)
        self.windower.ledger.begin({(topic, partition): low})
        self._removed[topic, partition] = low

    def _check_silence(self, now: float) -> None:
        idle_end_s = self._settings.idle_end_s
        if idle_end_s and now - self._heard_at > idle_end_s and self._heard:
            self.windower.watermark.end_all()
            return
        if self._replay is None:
            return  # a live stream may be silent as long as it likes
        allowed = self._settings.poll_timeout_s
        if self._settings.speed > 0:  # at real time there is nothing to hear between heartbeats
            allowed += 2 * self._settings.heartbeat_s / self._settings.speed
        if now - self._heard_at <= allowed:
            return
        if self._removed:
            (topic, partition), offset = next(iter(self._removed.items()))
            raise StreamGapError(
                f"{topic}[{partition}]: records before offset {offset} were removed before they were read, and replay "
                f"{self._replay} does not go on. Raise the topic's retention and replay again with the same id.",
                topic=topic, partition=partition, expected=None, got=offset,
            )  # fmt: skip
        raise BrokerUnavailableError(
            f"nothing heard of replay {self._replay} for {allowed:g} s. Is `opendt replay` still running? "
            "Start it again with the same replay id; it goes on where it stopped.",
            replay_id=self._replay,
        )

    def _balance(self) -> None:
        """Keep memory bounded: while too much waits, leave the partitions that are well past the open window.

        Not before they are: what tells of one partition's progress may stand in another (``promises.py``).
        """
        waiting = self.windower.ledger.waiting_bytes
        if waiting <= _HELD_BYTES and not self._paused:
            return
        wanted = self._far_ahead() if waiting > _HELD_BYTES // 2 else set()
        if waiting <= _HELD_BYTES:
            wanted &= self._paused  # room enough for those that are read; none joins the others before it is full
        if wanted != self._paused:
            kafka.pause(self._client, wanted - self._paused)
            kafka.resume(self._client, self._paused - wanted)
            self._paused = wanted

    def _far_ahead(self) -> set[Partition]:
        until_ms = self.windower.needed_until_ms
        if until_ms is None:
            return set()
        until_ms += round(_AHEAD_HEARTBEATS * self._settings.heartbeat_s * 1000)
        times = {where: self.windower.watermark.of(where) for where in self.windower.ledger.progress()}
        return {where for where, time_ms in times.items() if time_ms is not None and time_ms >= until_ms}


@contextmanager
def _no_garbage() -> Iterator[None]:
    """Hold the collector of cycles back: messages have none, but their number sends it over everything in memory."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def open_windows(
    settings: StreamSettings,
    windows: WindowSettings,
    datacenter: str,
    replay_id: str | None = None,
    position: StreamPosition | None = None,
    first_index: int = 0,
    *,
    clock: Clock | None = None,
    since_ms: int | None = None,
) -> WindowStream:
    """Windows of a stream, in order, one after another: ``with open_windows(...) as stream: for batch in stream:``.

    Args:
        settings: broker, topics, layout.
        windows: length, lateness, policy for late records.
        datacenter: records of other datacenters are ignored.
        replay_id: read only this replay and end with it; None reads whatever comes and ends when every partition ended.
        position: of the last window committed; reading goes on exactly after it. None starts from the beginning.
        first_index: number of the first window handed out.
        since_ms: without a position, start at the first record sent at this time or later [epoch ms] and spare the
            reader what others left; None for the beginning. The embedded broker knows no times.

    Raises:
        ConfigError: no broker address, or a topic contradicts the configuration.
        BrokerUnavailableError: no broker answers.
    """
    return WindowStream(settings, windows, datacenter, replay_id, position, first_index, clock, since_ms)
