"""A trace as messages of layout ``columns``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from opendt.models.messages import Partition
from opendt.settings import StreamSettings
from opendt.stream import codec
from opendt.stream.layouts.planned import PlannedLayout
from opendt.stream.schedule import (
    FRAGMENTS,
    HEARTBEAT,
    POWER,
    TASK,
    TOPOLOGY,
    Chunks,
    Events,
    Message,
    Replayable,
    boundaries,
    events,
    make_chunks,
    merge,
    silent,
)
from opendt.stream.topics import partition_of


class ColumnsLayout(PlannedLayout):
    """Messages of one trace in our own layout, as one sequence."""

    def __init__(
        self, trace: Replayable, settings: StreamSettings, datacenter: str, partitions: Mapping[str, int]
    ) -> None:
        super().__init__(trace, settings, datacenter, partitions)
        self._names = [str(name) for name in trace.workload.tasks.name.tolist()]
        self._keys = [f"{datacenter}/{name}".encode() for name in self._names]
        self._own_key = datacenter.encode()
        self._chunks = make_chunks(trace.workload.tasks, trace.workload.fragments, settings.chunk_fragments)
        self._events, self._beats = self._plan()

    def lanes(self) -> list[Iterator[Message]]:
        """The messages, as one sequence."""
        return [self._messages()]

    def ends(self, replay_id: str, counts: Mapping[Partition, tuple[int, int]]) -> list[Message]:
        """An end marker for each partition."""
        return [
            Message(self.end_ms, topic, p, None, codec.encode_end(self.end_ms, replay_id, *counts[topic, p]))
            for topic, p in self.partitions
        ]

    def _plan(self) -> tuple[Events, list[tuple[str, int]]]:
        tasks, power, names = self._trace.workload.tasks, self._trace.power, self._settings.topics
        workload_n, power_n = self._partitions[names.workload], self._partitions[names.power]
        of_task = np.array([partition_of(key, workload_n) for key in self._keys], np.int32)
        heads = events(TASK, tasks.submission_ms, of_task)
        chunks = events(FRAGMENTS, self._chunks.begin_ms, of_task[self._chunks.task])
        power_ms = np.zeros(0, np.int64) if power is None else power.timestamp_ms
        readings = events(POWER, power_ms, np.full(len(power_ms), partition_of(self._own_key, power_n), np.int32))
        parts = [heads, chunks, readings]
        times = np.concatenate([part.time_ms for part in parts])
        if not len(times):
            return merge(parts), []
        if self._trace.topology is not None:
            one = partition_of(self._own_key, self._partitions[names.topology])
            parts.append(events(TOPOLOGY, times[[times.argmin()]], np.array([one], np.int32)))
        beats, owners = self._heartbeats(int(times.min()), int(times.max()), [heads, chunks], readings)
        return merge([*parts, beats]), owners

    def _heartbeats(
        self, begin_ms: int, end_ms: int, work: list[Events], power: Events
    ) -> tuple[Events, list[tuple[str, int]]]:
        """Heartbeats to every partition that was silent, and the partition of each."""
        names = self._settings.topics
        at_ms = boundaries(begin_ms, end_ms, round(self._settings.heartbeat_s * 1000))
        times, owners = [], []
        for topic, sources in ((names.workload, work), (names.power, [power])):
            for p in range(self._partitions[topic]):
                sent = np.concatenate([s.time_ms[s.partition == p] for s in sources])
                quiet = at_ms[silent(at_ms, sent)]
                times.append(quiet)
                owners += [(topic, p)] * len(quiet)
        all_times = np.concatenate(times)
        return events(HEARTBEAT, all_times, np.zeros(len(all_times), np.int32)), owners

    def _messages(self) -> Iterator[Message]:
        names, plan = self._settings.topics, self._events
        topics = {TOPOLOGY: names.topology, TASK: names.workload, FRAGMENTS: names.workload, POWER: names.power}
        tasks, task_of_chunk = self._trace.workload.tasks, self._chunks.task.tolist()
        watts = [] if self._trace.power is None else self._trace.power.power_w.tolist()
        rows = zip(plan.time_ms.tolist(), plan.kind.tolist(), plan.index.tolist(), plan.partition.tolist(), strict=True)
        chunk_value = _chunk_encoder(self._chunks, self._names)
        for time_ms, kind, index, partition in rows:
            if kind == FRAGMENTS:
                key = self._keys[task_of_chunk[index]]
                yield Message(time_ms, names.workload, partition, key, chunk_value(index, time_ms))
            elif kind == HEARTBEAT:
                topic, p = self._beats[index]
                yield Message(time_ms, topic, p, None, codec.encode_heartbeat(time_ms))
            elif kind == POWER:
                value = codec.encode_power(time_ms, watts[index])
                yield Message(time_ms, names.power, partition, self._own_key, value)
            elif kind == TASK:
                yield Message(time_ms, topics[kind], partition, self._keys[index], codec.encode_task(tasks, index))
            elif self._trace.topology is not None:
                value = codec.encode_topology(time_ms, self._trace.topology, "trace")
                yield Message(time_ms, topics[kind], partition, self._own_key, value)


def _chunk_encoder(chunks: Chunks, names: list[str]) -> Callable[[int, int], bytes]:
    """A function (chunk number, time) -> bytes over plain lists, several times faster than indexing arrays."""
    task, start, stop, first = (getattr(chunks, n).tolist() for n in ("task", "start", "stop", "first"))
    flat = [getattr(chunks, n).tolist() for n in ("constant_duration", "constant_cpu", "constant_gpu")]
    data = chunks.fragments
    duration = np.ascontiguousarray(data.duration_ms)
    cpu, gpu = np.ascontiguousarray(data.cpu_usage_mhz), np.ascontiguousarray(data.gpu_usage_mhz)

    def encode(index: int, time_ms: int) -> bytes:
        a, b = start[index], stop[index]
        return codec.encode_fragments(
            time_ms,
            names[task[index]],
            first[index],
            b - a,
            int(duration[a]) if flat[0][index] else duration[a:b],
            float(cpu[a]) if flat[1][index] else cpu[a:b],
            float(gpu[a]) if flat[2][index] else gpu[a:b],
        )

    return encode
