"""A trace through the broker and back, on both brokers: everything arrives once, in its window, in order."""

from __future__ import annotations

import time
from dataclasses import fields

import numpy as np
import pytest

from opendt.errors import BrokerUnavailableError, StreamGapError
from opendt.models.messages import StreamPosition
from opendt.models.workload import Tasks
from opendt.settings import WindowSettings
from opendt.stream.broker import embedded_broker
from opendt.stream.replay import Replay
from opendt.stream.source import open_windows
from opendt.windows.batch import WindowBatch

HOUR_MS = 3_600_000
WINDOWS = WindowSettings(length_s=3600)


def read(settings, **more) -> list[WindowBatch]:
    with open_windows(settings, WINDOWS, "dc", **({"replay_id": "r1"} | more)) as stream:
        return list(stream)


def by_task(fragments) -> dict[int, list[tuple]]:
    found: dict[int, list[tuple]] = {}
    columns = (fragments.task_id, fragments.duration_ms, fragments.cpu_usage_mhz, fragments.gpu_usage_mhz)
    for task, *rest in zip(*(c.tolist() for c in columns), strict=True):
        found.setdefault(task, []).append(tuple(rest))
    return found


def assert_same_batches(a: list[WindowBatch], b: list[WindowBatch]) -> None:
    assert [x.index for x in a] == [x.index for x in b]
    for x, y in zip(a, b, strict=True):
        assert (x.start_ms, x.end_ms, x.last) == (y.start_ms, y.end_ms, y.last)
        for name in (f.name for f in fields(Tasks) if f.name != "parents"):
            np.testing.assert_array_equal(getattr(x.workload.tasks, name), getattr(y.workload.tasks, name))
        for name in ("task_id", "duration_ms", "cpu_usage_mhz", "gpu_usage_mhz"):
            np.testing.assert_array_equal(getattr(x.workload.fragments, name), getattr(y.workload.fragments, name))
        np.testing.assert_array_equal(x.power.timestamp_ms, y.power.timestamp_ms)
        np.testing.assert_array_equal(x.power.power_w, y.power.power_w)


def test_windows_are_contiguous_aligned_and_end_with_the_last(settings, trace, send):
    send(trace, settings)
    batches = read(settings)
    starts = [batch.start_ms for batch in batches]
    assert starts[0] % HOUR_MS == 0
    assert np.all(np.diff(starts) == HOUR_MS)
    assert [batch.index for batch in batches] == list(range(len(batches)))
    assert [batch.last for batch in batches] == [False] * (len(batches) - 1) + [True]


def test_every_task_arrives_in_the_window_of_its_submission_with_all_its_columns(settings, trace, send):
    send(trace, settings)
    tasks, arrived = trace.workload.tasks, 0
    for batch in read(settings):
        inside = (tasks.submission_ms >= batch.start_ms) & (tasks.submission_ms < batch.end_ms)
        expected = tasks.take(np.flatnonzero(inside)[np.argsort(tasks.submission_ms[inside], kind="stable")])
        for name in (f.name for f in fields(Tasks) if f.name != "parents"):
            np.testing.assert_array_equal(getattr(batch.workload.tasks, name), getattr(expected, name), err_msg=name)
        arrived += len(batch.workload.tasks)
    assert arrived == len(tasks)


def test_fragments_of_a_task_arrive_in_order_and_none_is_lost(settings, trace, send):
    send(trace, settings)
    together: dict[int, list[tuple]] = {}
    for batch in read(settings):
        for task, rows in by_task(batch.workload.fragments).items():
            together.setdefault(task, []).extend(rows)
    assert together == by_task(trace.workload.fragments)


def test_a_chunk_belongs_to_the_window_in_which_it_begins(settings, trace, send):
    send(trace, settings)
    task = int(trace.workload.tasks.task_id[np.argmax(trace.workload.tasks.fragment_count)])
    rows = by_task(trace.workload.fragments)[task]
    submission = int(trace.workload.tasks.submission_ms[trace.workload.tasks.task_id == task][0])
    expected: dict[int, int] = {}
    begin = submission
    for first in range(0, len(rows), settings.chunk_fragments):
        chunk = rows[first : first + settings.chunk_fragments]
        expected[begin // HOUR_MS] = expected.get(begin // HOUR_MS, 0) + len(chunk)
        begin += sum(duration for duration, *_ in chunk)
    arrived = {
        batch.start_ms // HOUR_MS: n
        for batch in read(settings)
        if (n := int((batch.workload.fragments.task_id == task).sum()))
    }
    assert len(expected) > 1
    assert arrived == expected


def test_power_arrives_in_the_window_of_its_timestamp(settings, trace, send):
    send(trace, settings)
    for batch in read(settings):
        inside = (trace.power.timestamp_ms >= batch.start_ms) & (trace.power.timestamp_ms < batch.end_ms)
        np.testing.assert_array_equal(batch.power.timestamp_ms, trace.power.timestamp_ms[inside])
        np.testing.assert_array_equal(batch.power.power_w, trace.power.power_w[inside])


def test_the_topology_of_the_trace_is_announced_in_the_first_window(settings, trace, send):
    send(trace, settings)
    batches = read(settings)
    assert batches[0].topology == trace.topology
    assert all(batch.topology is None for batch in batches[1:])


def test_reading_goes_on_exactly_after_any_committed_window(settings, trace, send):
    send(trace, settings).join()
    whole = read(settings)
    for batch in whole[:-1]:
        position = StreamPosition.from_json(batch.position.to_json())
        rest = read(settings, position=position, first_index=batch.index + 1)
        assert_same_batches(rest, whole[batch.index + 1 :])
        assert sum(b.duplicates for b in rest) == 0


def test_nothing_follows_the_last_window(settings, trace, send):
    send(trace, settings).join()
    last = read(settings)[-1]
    assert read(settings, position=last.position, first_index=last.index + 1) == []


def test_records_sent_twice_are_dropped_and_counted(settings, trace, send, send_part):
    half = send_part(trace, settings, 1000, start_sequences={})
    assert half.state == "stopped"
    assert 1000 <= half.messages < 2000
    send(trace, settings, start_sequences={}).join()
    batches = read(settings)
    assert sum(len(b.workload.tasks) for b in batches) == len(trace.workload.tasks)
    assert sum(len(b.workload.fragments) for b in batches) == len(trace.workload.fragments)
    seen_twice = sum(b.duplicates for b in batches)
    assert half.messages - 1 <= seen_twice <= half.messages  # the second topology may come after the end


def test_a_stopped_replay_has_no_end(settings, trace, send_part):
    send_part(trace, settings, 1000, start_sequences={})
    quick = settings.model_copy(update={"poll_timeout_s": 0.3})
    with pytest.raises(BrokerUnavailableError, match="nothing heard of replay r1"):
        read(quick)


def test_after_the_embedded_broker_was_lost_a_replay_goes_on_where_the_reader_was(embedded, trace, send):
    send(trace, embedded).join()
    whole = read(embedded)
    with embedded_broker() as address:
        anew = embedded.model_copy(update={"bootstrap_servers": address})
        sequences = whole[1].position.next_sequences("r1")
        report = send(trace, anew, start_sequences=sequences).join()
        assert report.skipped == sum(sequences.values()) > 0
        rest = read(anew, position=whole[1].position, first_index=2)
        assert_same_batches(rest, whole[2:])


def test_on_a_broker_that_remembers_a_replay_goes_on_after_its_last_records(real, trace, send, send_part):
    half = send_part(trace, real, 1000)
    rest = send(trace, real).join()
    assert rest.skipped == half.messages > 0
    batches = read(real)
    assert sum(len(b.workload.fragments) for b in batches) == len(trace.workload.fragments)
    assert sum(b.duplicates for b in batches) == 0


def test_other_replays_and_datacenters_are_ignored(settings, trace, make, send):
    send(make(seed=2), settings, replay_id="other").join()
    send(make(seed=3), settings, datacenter="elsewhere", replay_id="r1-elsewhere").join()
    send(trace, settings).join()
    batches = read(settings)
    assert sum(len(b.workload.fragments) for b in batches) == len(trace.workload.fragments)
    assert sum(b.ignored for b in batches) > 0


def test_a_gap_stops_the_reader_with_the_place(settings, trace, send):
    send(trace, settings, start_sequences={(settings.topics.workload, 1): 3}).join()
    with pytest.raises(StreamGapError) as caught:
        read(settings)
    assert caught.value.facts == {"topic": settings.topics.workload, "partition": 1, "expected": 0, "got": 3}


def test_a_replay_is_the_same_bytes_every_time(settings, trace, send):
    send(trace, settings, replay_id="a", start_sequences={}).join()
    send(trace, settings, replay_id="b", start_sequences={}).join()
    ends = [read(settings, replay_id=name)[-1].position.sequences for name in ("a", "b")]
    a, b = ({key[1:]: mark for key, mark in marks.items()} for marks in ends)
    assert a == b
    assert len(a) == 9  # four partitions each of workload and power, and the topology's


@pytest.mark.java
def test_a_reader_that_starts_at_a_time_spares_itself_what_was_there_before(real, trace):
    Replay(trace, real, "dc", "old", start_sequences={}).run()
    time.sleep(0.05)
    since_ms = time.time_ns() // 1_000_000
    time.sleep(0.05)
    Replay(trace, real, "dc", "r1", start_sequences={}).run()
    whole = read(real)
    with open_windows(real, WINDOWS, "dc", "r1", since_ms=since_ms) as stream:
        starts = stream.windower.ledger.progress()
        batches = list(stream)
    assert_same_batches(batches, whole)
    assert sum(starts.values()) > 0
    with open_windows(real, WINDOWS, "dc", "r1", since_ms=since_ms + 3_600_000) as stream:
        ends = stream.windower.ledger.progress()
    assert all(starts[where] <= end for where, end in ends.items())
    assert sum(starts.values()) < sum(ends.values())
