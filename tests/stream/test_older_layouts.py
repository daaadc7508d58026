"""The older systems' formats: written as they write them, read as they are, from our producer or theirs."""

from __future__ import annotations

import json
import time
from dataclasses import fields
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from opendt.models.workload import Tasks
from opendt.settings import WindowSettings
from opendt.stream import kafka, source
from opendt.stream.layouts import layout_of
from opendt.stream.source import open_windows
from opendt.stream.tail import tail

LAYOUTS = ["opendt-v1", "opendt-v0"]
HOUR_MS = 3_600_000


def with_layout(settings, layout, **more):
    return settings.model_copy(update={"layout": layout, **more})


def read(settings, replay_id="r1", **more):
    with open_windows(settings, WindowSettings(), "dc", replay_id, **more) as stream:
        return list(stream)


def by_task(batches):
    found = {}
    for batch in batches:
        f = batch.workload.fragments
        for task, *rest in zip(f.task_id.tolist(), f.duration_ms.tolist(), f.cpu_usage_mhz.tolist(), strict=True):
            found.setdefault(task, []).append(tuple(rest))
    return found


def expected(trace):
    f, found = trace.workload.fragments, {}
    for task, *rest in zip(f.task_id.tolist(), f.duration_ms.tolist(), f.cpu_usage_mhz.tolist(), strict=True):
        found.setdefault(task, []).append(tuple(rest))
    return found


def layout_messages(trace, settings, layout):
    names = settings.topics
    counts = dict.fromkeys((names.workload, names.power, names.topology, names.v0_tasks, names.v0_fragments), 1)
    return layout_of(trace, with_layout(settings, layout), "dc", counts)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_trace_sent_and_read_in_an_older_layout_is_the_same_trace(settings, trace, send, layout):
    settings = with_layout(settings, layout)
    send(trace, settings)
    batches = read(settings)
    assert by_task(batches) == expected(trace)
    assert sum(batch.filled_fragments for batch in batches) == 0
    assert [b for batch in batches for b in (*batch.dead, *batch.late)] == []
    tasks = trace.workload.tasks
    for batch in batches:
        inside = (tasks.submission_ms >= batch.start_ms) & (tasks.submission_ms < batch.end_ms)
        wanted = tasks.take(np.flatnonzero(inside)[np.argsort(tasks.submission_ms[inside], kind="stable")])
        for name in (f.name for f in fields(Tasks) if f.name != "parents"):
            np.testing.assert_array_equal(getattr(batch.workload.tasks, name), getattr(wanted, name), err_msg=name)
    power = np.concatenate([batch.power.power_w for batch in batches])
    np.testing.assert_array_equal(power, trace.power.power_w)
    assert batches[-1].last


@pytest.mark.parametrize("layout", LAYOUTS)
def test_reading_an_older_layout_goes_on_after_any_window(embedded, trace, send, layout):
    settings = with_layout(embedded, layout)
    send(trace, settings).join()
    whole = read(settings)
    for batch in whole[:-1]:
        rest = read(settings, position=batch.position, first_index=batch.index + 1)
        assert by_task(rest) == by_task(whole[batch.index + 1 :])
        assert rest[-1].last
        assert sum(len(b.dead) + b.duplicates + b.filled_fragments for b in rest) == 0


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_older_layout_is_sent_again_without_repeating_a_record(embedded, trace, send, send_part, layout):
    settings = with_layout(embedded, layout)
    half = send_part(trace, settings, 600, start_sequences={})
    assert half.state == "stopped"
    send(trace, settings, start_sequences={}).join()
    batches = read(settings)
    assert by_task(batches) == expected(trace)
    assert sum(batch.duplicates for batch in batches) >= half.messages - 1


def test_v1_tasks_have_the_older_services_fields_keys_and_times(embedded, trace):
    layout = layout_messages(trace, embedded, "opendt-v1")
    messages = [m for lane in layout.lanes() for m in lane]
    tasks = [(m.key, json.loads(m.value)) for m in messages if b'"task"' in m.value[:30]]
    assert len(tasks) == len(trace.workload.tasks)
    for index, (key, message) in enumerate(tasks):
        task = message["task"]
        assert list(message) == ["message_type", "timestamp", "task"]
        assert list(task) == [
            "id",
            "submission_time",
            "duration",
            "cpu_count",
            "cpu_capacity",
            "mem_capacity",
            "fragments",
        ]
        assert key == str(task["id"]).encode()
        assert message["timestamp"].endswith("+00:00")
        assert task["submission_time"].endswith("Z")
        when = datetime.fromisoformat(task["submission_time"])
        assert round(when.timestamp() * 1000) == trace.workload.tasks.submission_ms[index]
        assert all(list(f) == ["task_id", "duration", "cpu_count", "cpu_usage"] for f in task["fragments"])
        assert {f["task_id"] for f in task["fragments"]} <= {task["id"]}
    fragments = [f for _, m in tasks for f in m["task"]["fragments"]]
    assert [f["cpu_usage"] for f in fragments] == trace.workload.fragments.cpu_usage_mhz.tolist()


def test_v1_heartbeats_come_at_full_minutes_up_to_the_last_task_and_once_at_the_end(embedded, trace):
    layout = layout_messages(trace, embedded, "opendt-v1")
    beats = [m for lane in layout.lanes() for m in lane if m.key == b"heartbeat"]
    times = [datetime.fromisoformat(json.loads(m.value)["timestamp"]) for m in beats]
    first = datetime.fromtimestamp(int(trace.workload.tasks.submission_ms.min()) / 1000, UTC)
    last = datetime.fromtimestamp(int(trace.workload.tasks.submission_ms.max()) / 1000, UTC)
    assert times[0] == first.replace(second=0)
    assert set(np.diff(times)) == {timedelta(minutes=1)}
    assert last - timedelta(minutes=1) < times[-1] <= last
    assert all(json.loads(m.value).keys() == {"message_type", "timestamp"} for m in beats)
    (end,) = layout.ends("r1", {(embedded.topics.workload, 0): (1, 2), (embedded.topics.power, 0): (3, 4)})
    assert json.loads(end.value).keys() == {"message_type", "timestamp"}  # for older readers a heartbeat like any other


def test_v1_power_and_topology_have_the_older_services_fields(embedded, trace):
    layout = layout_messages(trace, embedded, "opendt-v1")
    messages = [m for lane in layout.lanes() for m in lane]
    power = [m for m in messages if m.topic == embedded.topics.power]
    assert {m.key for m in power} == {None}
    readings = [json.loads(m.value) for m in power]
    assert list(readings[1]) == ["power_draw", "energy_usage", "timestamp"]
    assert readings[1]["energy_usage"] == pytest.approx(30 * trace.power.power_w[1])
    (topology,) = (m for m in messages if m.topic == embedded.topics.topology)
    snapshot = json.loads(topology.value)
    assert topology.key == b"datacenter"
    assert list(snapshot) == ["timestamp", "topology"]
    host = snapshot["topology"]["clusters"][0]["hosts"][0]
    assert {"name", "count", "cpu", "memory", "cpuPowerModel"} <= host.keys()


def test_v0_fragments_carry_the_time_at_which_they_end_and_two_senders_share_the_work(embedded, trace):
    tasks_lane, fragments_lane = (list(lane) for lane in layout_messages(trace, embedded, "opendt-v0").lanes())
    heads = [m for m in tasks_lane if m.topic == embedded.topics.v0_tasks]
    assert [list(json.loads(m.value)) for m in heads[:1]] == [
        ["submission_time", "duration", "cpu_count", "cpu_capacity", "mem_capacity"]
    ]
    assert json.loads(heads[0].key) == {"id": 1000}
    assert json.loads(heads[0].value)["submission_time"] == "2022-10-06T22:00:00"
    assert {m.topic for m in fragments_lane} == {embedded.topics.v0_fragments}
    assert [m.time_ms for m in fragments_lane] == sorted(m.time_ms for m in fragments_lane)
    begin = int(trace.workload.tasks.submission_ms[0])
    mine = trace.workload.fragments.task_id == 1000
    ends = begin + np.cumsum(trace.workload.fragments.duration_ms[mine])
    sent = [json.loads(m.value) for m in fragments_lane if json.loads(m.key) == {"id": 1000}]
    assert [list(f) for f in sent[:1]] == [["duration", "cpu_usage", "submission_time"]]
    stamps = [datetime.fromisoformat(f["submission_time"]).replace(tzinfo=UTC).timestamp() * 1000 for f in sent]
    assert stamps == ends.tolist()


def send_as_strangers(trace, settings, layout):
    """The messages without our headers, as the older producers send them: one heartbeat, keys choose partitions."""
    failed = []
    producer = kafka.producer(settings, failed.append)
    ours = layout_of(trace, settings, "dc", dict.fromkeys(settings.topics.model_dump().values(), 4))
    last_beat = None
    for lane in ours.lanes():
        for m in lane:
            if layout == "opendt-v0" and m.topic not in (settings.topics.v0_tasks, settings.topics.v0_fragments):
                continue
            if m.key == b"heartbeat" and (m.time_ms == last_beat or m.partition != 0):
                continue
            last_beat = m.time_ms if m.key == b"heartbeat" else last_beat
            partition = 0 if m.topic == settings.topics.topology else m.partition
            producer.produce(m.topic, m.value, m.key, partition)
        producer.poll(0)
    assert producer.flush(20) == 0
    assert failed == []


class Holding:
    """A producer that hands over the records of one partition when everything else is with the broker."""

    def __init__(self, client, topic, partition):
        self._client, self._where, self._held = client, (topic, partition), []

    def produce(self, topic, value=None, key=None, partition=-1, **more):
        if (topic, partition) == self._where:
            self._held.append((topic, value, key, partition, more))
        else:
            self._client.produce(topic, value, key, partition, **more)

    def flush(self, timeout_s):
        if self._client.flush(timeout_s) == 0 and self._held:
            time.sleep(1.0)  # for the reader to draw its conclusions
            for *record, more in self._held:
                self._client.produce(*record, **more)
            self._held.clear()
        return self._client.flush(timeout_s)

    def __getattr__(self, name):
        return getattr(self._client, name)


@pytest.mark.parametrize(
    ("layout", "topic"), [("opendt-v1", "power"), ("opendt-v0", "v0_tasks"), ("opendt-v0", "v0_fragments")]
)
def test_nothing_is_late_because_a_broker_got_one_partition_after_the_others(
    embedded, trace, send, monkeypatch, layout, topic
):
    settings = with_layout(embedded, layout)
    make_producer = kafka.producer
    held = getattr(settings.topics, topic)
    monkeypatch.setattr(kafka, "producer", lambda *given: Holding(make_producer(*given), held, 1))
    sender = send(trace, settings)
    batches = read(settings)
    sender.join()
    assert [record for batch in batches for record in batch.late] == []
    assert by_task(batches) == expected(trace)
    assert sum(len(batch.workload.tasks) for batch in batches) == len(trace.workload.tasks)
    assert sum(len(batch.power) for batch in batches) == len(trace.power)


@pytest.mark.parametrize("layout", ["columns", *LAYOUTS])
def test_little_memory_for_what_waits_slows_reading_but_never_stops_it(settings, trace, send, monkeypatch, layout):
    monkeypatch.setattr(source, "_HELD_BYTES", 20_000)
    settings = with_layout(settings, layout)
    sender = send(trace, settings)
    assert by_task(read(settings)) == expected(trace)
    sender.join()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_producer_of_the_older_system_works_unchanged(embedded, make, layout):
    trace = make(seed=4, tasks=40, hours=2.0, most_fragments=200)
    settings = with_layout(embedded, layout, idle_end_s=0.4)
    send_as_strangers(trace, settings, layout)
    batches = read(settings, replay_id=None)
    wanted = expected(trace)
    got = by_task(batches)
    for task, rows in wanted.items():
        extra = got[task][len(rows) :]
        assert got[task][: len(rows)] == rows
        assert all(duration == 0 for duration, _ in extra)  # v0 cannot tell how many there will be
    assert got.keys() == wanted.keys()
    late = [record for batch in batches for record in batch.late]
    assert late == []
    assert sum(len(batch.workload.tasks) for batch in batches) == len(trace.workload.tasks)


def test_windows_of_an_older_stream_close_before_it_ends(embedded, make):
    """Heartbeats reach one partition only; progress is carried over to the others."""
    trace = make(seed=4, tasks=40, hours=3.0, most_fragments=200)
    settings = with_layout(embedded, "opendt-v1")
    send_as_strangers(trace, settings, "opendt-v1")
    with open_windows(settings, WindowSettings(), "dc", None) as stream:
        assert next(stream).start_ms < next(stream).start_ms


@pytest.mark.parametrize("layout", LAYOUTS)
def test_tail_reads_older_layouts(embedded, make, send, layout):
    trace = make(seed=4, tasks=10, hours=1.0, most_fragments=20)
    settings = with_layout(embedded, layout)
    send(trace, settings).join()
    lines = list(tail(settings, last=5))
    assert {"power"} <= {line.kind for line in lines}
    assert "unreadable" not in {line.kind for line in lines}
