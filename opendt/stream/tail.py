"""Messages of the stream as lines for people."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from opendt.models.messages import (
    EndOfStream,
    FragmentChunk,
    Heartbeat,
    PowerReading,
    Record,
    TaskHead,
    TopologyChange,
)
from opendt.settings import StreamSettings
from opendt.stream import kafka, topics
from opendt.stream.envelope import BadRecord, open_envelope
from opendt.stream.layouts import decoder_of
from opendt.units import iso


@dataclass(frozen=True, slots=True)
class Line:
    """One message: where it is, who sent it, what it says."""

    topic: str
    partition: int
    offset: int
    key: str | None
    replay: str | None
    sequence: int | None
    datacenter: str | None
    time_ms: int | None
    kind: str
    text: str
    size_bytes: int


def tail(
    settings: StreamSettings, names: Sequence[str] = (), *, last: int = 10, follow: bool = False, silence_s: float = 0.5
) -> Iterator[Line]:
    """The last messages of each partition of the topics, then new ones as they come if ``follow``.

    Args:
        settings: broker, topics, layout.
        names: topics; those that exist among the configured ones when empty.
        last: messages per partition to begin with.
        follow: go on until the iteration is left.
        silence_s: without ``follow``, silence after which the end is assumed, should a partition not be readable
            to its end (transaction markers) [s].
    """
    client = kafka.consumer(settings, "opendt.tail")
    try:
        wanted = list(names) or [t["topic"] for t in topics.list_all(settings) if t["configured"] and t["exists"]]
        ends: dict[tuple[str, int], int] = {}
        starts: dict[tuple[str, int], int] = {}
        for name in wanted:
            for partition in range(kafka.partition_count(client, name, settings)):
                low, high = kafka.watermarks(client, name, partition, settings)
                starts[name, partition] = max(low, high - last)
                ends[name, partition] = high
        kafka.assign(client, starts)
        yield from _read(client, settings, starts, ends, follow, silence_s)
    finally:
        kafka.close(client)


def _read(
    client: Any,
    settings: StreamSettings,
    at: dict[tuple[str, int], int],
    ends: dict[tuple[str, int], int],
    follow: bool,
    silence_s: float,
) -> Iterator[Line]:
    decode = decoder_of(settings)
    heard = time.monotonic()
    while follow or any(at[where] < end for where, end in ends.items()):
        messages = kafka.poll(client, settings, 0.05, 500)
        for message in messages:
            where = (message.topic(), message.partition())
            at[where] = message.offset() + 1
            if follow or message.offset() < ends[where]:
                yield line_of(message, decode)
        if messages:
            heard = time.monotonic()
        elif not follow and time.monotonic() - heard > silence_s + kafka.TIMEOUT_S * (heard == 0):
            return


def line_of(message: Any, decode: Any) -> Line:
    """A Kafka message as a line; one that cannot be understood says why."""
    value, key = message.value(), message.key()
    envelope, time_ms = None, None
    try:
        envelope = open_envelope(message.headers())
        records = decode(message.topic(), key, value, envelope)
        time_ms = records[0].time_ms if records else None
        kind, text = _kind(records[0]), "; ".join(_text(record) for record in records)
    except BadRecord as error:
        kind, text = "unreadable", f"{error}: {(value or b'')[:120]!r}"
    return Line(
        topic=message.topic(),
        partition=message.partition(),
        offset=message.offset(),
        key=None if key is None else key.decode(errors="replace"),
        replay=envelope.replay if envelope else None,
        sequence=envelope.sequence if envelope else None,
        datacenter=envelope.datacenter if envelope else None,
        time_ms=time_ms,
        kind=kind,
        text=text,
        size_bytes=len(value or b""),
    )


def _kind(record: Record) -> str:
    names = {TaskHead: "task", FragmentChunk: "fragments", PowerReading: "power", TopologyChange: "topology"}
    return names.get(type(record), "heartbeat" if isinstance(record, Heartbeat) else "end")


def _text(record: Record) -> str:
    if isinstance(record, TaskHead):
        count = "?" if record.fragment_count < 0 else str(record.fragment_count)
        return f"task {record.name}: {record.cpu_count} cores, {record.duration_ms / 1000:g} s, {count} fragments"
    if isinstance(record, FragmentChunk):
        cpu = record.cpu_usage_mhz
        mean = cpu if isinstance(cpu, float) else sum(cpu) / len(cpu)
        return (
            f"fragments {record.first}-{record.first + record.count - 1} of task number {record.task_id}, "
            f"{(record.end_ms - record.time_ms) / 1000:g} s, mean {mean:,.0f} MHz"
        )
    if isinstance(record, PowerReading):
        return f"{record.power_w:,.1f} W"
    if isinstance(record, TopologyChange):
        return f"topology from {record.source}: {record.topology.host_count} hosts, {record.topology.core_count} cores"
    if isinstance(record, EndOfStream):
        return f"end after {record.count} records, checksum {record.checksum:#010x}"
    return f"nothing older than {iso(record.time_ms)} follows"
