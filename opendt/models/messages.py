"""What travels on the stream, decoded, and how far a reader of it has come.

Records know their event time (epoch ms) and nothing of Kafka; ``Origin`` says where one was read. The layouts in
``opendt/stream`` turn bytes into these and back.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from opendt.models.topology import Topology

PAYLOAD_KEPT_BYTES = 65_536  # how much of a rejected record is kept
MAX_FRAGMENTS = 2_000_000  # of one task; a forged number would have that many stand-ins made


@dataclass(slots=True)
class TaskHead:
    """A task as announced at its submission. ``order`` breaks ties between equal submission times.

    ``fragment_count`` is the number of fragments the task has in all, -1 where the layout cannot say.
    """

    time_ms: int
    task_id: int
    name: str
    order: int
    submission_ms: int
    duration_ms: int
    cpu_count: int
    cpu_capacity_mhz: float
    mem_capacity: int
    fragment_count: int
    has_cpu_usage: bool
    gpu_count: int = 0
    gpu_capacity_mhz: float = 0.0
    deadline_ms: int = -1
    deferrable: bool = False
    parents: tuple[int, ...] = ()


@dataclass(slots=True)
class FragmentChunk:
    """Consecutive fragments of one task, the first of which begins at ``time_ms``.

    ``first`` is the number of the first fragment within its task. A column that is one number holds for all
    ``count`` fragments.
    """

    time_ms: int
    task_id: int
    first: int
    count: int
    duration_ms: int | array[int]
    cpu_usage_mhz: float | array[float]
    gpu_usage_mhz: float | array[float] = 0.0

    @property
    def end_ms(self) -> int:
        """Event time at which the last fragment ends if the task was never delayed."""
        total = self.duration_ms * self.count if isinstance(self.duration_ms, int) else sum(self.duration_ms)
        return self.time_ms + total


class FragmentRow(NamedTuple):
    """One fragment of a task, in a layout that sends them singly and without a number, in order."""

    time_ms: int
    task_id: int
    duration_ms: int
    cpu_usage_mhz: float


@dataclass(slots=True)
class PowerReading:
    """Measured power of the whole datacenter [W]."""

    time_ms: int
    power_w: float


@dataclass(slots=True)
class TopologyChange:
    """A topology in force from ``time_ms`` on; None means from when it is read."""

    time_ms: int | None
    topology: Topology
    source: str


@dataclass(slots=True)
class Heartbeat:
    """A promise: nothing older than ``time_ms`` follows in this partition."""

    time_ms: int


@dataclass(slots=True)
class EndOfStream:
    """The last record of a replay in a partition.

    ``count`` records of the replay came before it in this partition; ``checksum`` is the running CRC-32 of their
    values. ``others`` has both for partitions whose layout has no end of its own, by "topic/partition".
    """

    time_ms: int
    count: int
    checksum: int
    others: dict[str, tuple[int, int]] = field(default_factory=dict)


Record = TaskHead | FragmentChunk | FragmentRow | PowerReading | TopologyChange | Heartbeat | EndOfStream


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a record was read."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class LateRecord:
    """A record whose window had closed. ``policy`` says what became of it: ``drop`` or ``reopen``."""

    topic: str
    partition: int
    offset: int
    event_ms: int
    kind: str  # task, fragments, power
    policy: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that could not be understood, with its first bytes and its full length."""

    topic: str
    partition: int
    offset: int
    reason: str
    payload: bytes
    payload_bytes: int


@dataclass(frozen=True, slots=True)
class SequenceMark:
    """The last record of a replay seen in a partition: its sequence number and the running CRC-32 up to it."""

    last: int
    checksum: int


class OpenTask(NamedTuple):
    """A task whose fragments have not all come: what is known of it, so that a missing chunk is noticed.

    Attributes:
        promised: fragments it has in all.
        received: fragments that came, or were filled in.
        known_end_ms: when these end if the task was never delayed.
        due_end_ms: submission plus the duration announced.
        last_cpu_mhz: what the last of them asked for.
        topic, partition, offset: where the task was announced.
        filled: fragments filled in so far.
        name: the task's own id.
    """

    promised: int
    received: int
    known_end_ms: int
    due_end_ms: int
    last_cpu_mhz: float
    topic: str
    partition: int
    offset: int
    filled: int
    name: str


Partition = tuple[str, int]


@dataclass(frozen=True, slots=True)
class StreamPosition:
    """How far a reader has come: everything needed to go on without losing or repeating a record.

    Attributes:
        cluster: identifier of the Kafka cluster the offsets belong to. On another cluster (a restarted embedded
            broker) only ``sequences`` count and reading starts at the beginning.
        offsets: next offset to read per (topic, partition): the first record not yet handed out.
        sequences: per (replay id, topic, partition) the last record before that offset.
        early: offsets at or above ``offsets`` that have been handed out already, to be skipped.
        closed_until_ms: end of the last window closed; None before the first.
        open_tasks: tasks that still wait for fragments, by engine number.
        ended: the last window was handed out; there is nothing to go on with.
    """

    cluster: str
    offsets: dict[Partition, int]
    sequences: dict[tuple[str, str, int], SequenceMark]
    early: dict[Partition, tuple[int, ...]] = field(default_factory=dict)
    closed_until_ms: int | None = None
    open_tasks: dict[int, OpenTask] = field(default_factory=dict)
    ended: bool = False

    def offsets_json(self) -> str:
        """The next offsets alone, as JSON text: {topic: {partition: offset}}."""
        return orjson.dumps(_nested(self.offsets)).decode()

    def to_json(self) -> str:
        """All of it as JSON text; ``from_json`` is its inverse."""
        sequences: dict[str, dict[str, dict[str, list[int]]]] = {}
        for (replay, topic, partition), mark in self.sequences.items():
            sequences.setdefault(replay, {}).setdefault(topic, {})[str(partition)] = [mark.last, mark.checksum]
        return orjson.dumps(
            {
                "cluster": self.cluster,
                "offsets": _nested(self.offsets),
                "sequences": sequences,
                "early": _nested({k: list(v) for k, v in self.early.items()}),
                "closed_until_ms": self.closed_until_ms,
                "open_tasks": [[number, *task] for number, task in self.open_tasks.items()],
                "ended": self.ended,
            }
        ).decode()

    @staticmethod
    def from_json(text: str | bytes) -> StreamPosition:
        """A position from its JSON text. Raises ``ValueError`` or ``KeyError`` for anything else."""
        data = orjson.loads(text)
        return StreamPosition(
            cluster=data["cluster"],
            offsets=_flat(data["offsets"]),
            sequences={
                (replay, topic, int(partition)): SequenceMark(*mark)
                for replay, topics in data["sequences"].items()
                for topic, partitions in topics.items()
                for partition, mark in partitions.items()
            },
            early={k: tuple(v) for k, v in _flat(data["early"]).items()},
            closed_until_ms=data["closed_until_ms"],
            open_tasks={row[0]: OpenTask(*row[1:]) for row in data["open_tasks"]},
            ended=data["ended"],
        )

    def next_sequences(self, replay_id: str) -> dict[Partition, int]:
        """The next sequence number this reader needs of a replay, per partition; where a new producer starts."""
        return {(t, p): mark.last + 1 for (r, t, p), mark in self.sequences.items() if r == replay_id}


def _nested(values: dict[Partition, Any]) -> dict[str, dict[str, Any]]:
    nested: dict[str, dict[str, Any]] = {}
    for (topic, partition), value in sorted(values.items()):
        nested.setdefault(topic, {})[str(partition)] = value
    return nested


def _flat(nested: dict[str, dict[str, Any]]) -> dict[Partition, Any]:
    return {(topic, int(p)): value for topic, partitions in nested.items() for p, value in partitions.items()}
