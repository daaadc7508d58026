"""A windower fed by hand: two partitions of work, one of power, one of topologies."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from opendt.models.messages import (
    EndOfStream,
    FragmentChunk,
    Heartbeat,
    PowerReading,
    Record,
    StreamPosition,
    TaskHead,
)
from opendt.settings import WindowSettings
from opendt.windows.batch import WindowBatch
from opendt.windows.buffer import Incoming
from opendt.windows.windower import Windower

A, B, POWER, TOPOLOGY = ("work", 0), ("work", 1), ("power", 0), ("topology", 0)
S = 1000


def head(time_s: int, number: int = 1, fragments: int = 0, duration_s: int = 0, order: int = 0) -> TaskHead:
    """A task submitted at a time [s]."""
    return TaskHead(time_s * S, number, str(number), order, time_s * S, duration_s * S, 1, 1.0, 0, fragments, True)


def chunk(time_s: int, number: int = 1, first: int = 0, count: int = 1, each_s: int = 5, cpu: float = 7.0):
    """Fragments of equal length."""
    return FragmentChunk(time_s * S, number, first, count, each_s * S, cpu)


class Feed:
    """Feeds records as a reader would, and collects the windows that close."""

    def __init__(self, windower: Windower, offsets: dict | None = None) -> None:
        self.windower = windower
        self._offsets = dict(offsets or {})
        self.batches: list[WindowBatch] = []

    def __call__(self, where, record: Record, value: bytes = b"raw") -> int:
        """Give a record; its offset."""
        offset = self._offsets.get(where, 0)
        self._offsets[where] = offset + 1
        self.windower.ledger.read(where, offset)
        if not self.windower.ledger.is_early(where, offset):
            self.windower.add(Incoming(where, offset, None, (-1, 0), (record,), value))
        while (batch := self.windower.next_batch()) is not None:
            self.batches.append(batch)
        return offset

    def beat(self, time_s: int) -> None:
        """A heartbeat to every partition."""
        for where in (A, B, POWER):
            self(where, Heartbeat(time_s * S))

    def end(self, time_s: int) -> None:
        """The end of every partition."""
        for where in (A, B, POWER):
            self(where, EndOfStream(time_s * S, 0, 0))


@pytest.fixture
def feed() -> Callable[..., Feed]:
    """Make a feed: windows of 10 s unless told otherwise."""

    def make(position: StreamPosition | None = None, first_index: int = 0, cluster: str = "c", **settings) -> Feed:
        windows = WindowSettings(**({"length_s": 10} | settings))
        windower = Windower([A, B, POWER], [TOPOLOGY], windows, cluster, position, first_index)
        return Feed(windower, position.offsets if position else None)

    return make


@pytest.fixture
def make():
    """Records by hand."""

    class Make:
        """Shorthands."""

        A, B, POWER, TOPOLOGY = A, B, POWER, TOPOLOGY
        head = staticmethod(head)
        chunk = staticmethod(chunk)

        @staticmethod
        def power(time_s: int, power_w: float = 1.0) -> PowerReading:
            """A reading."""
            return PowerReading(time_s * S, power_w)

    return Make
