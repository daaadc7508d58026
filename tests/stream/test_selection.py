"""Which part of a trace is sent, and how often."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from opendt.errors import InputError, TraceError
from opendt.models.workload import task_number
from opendt.settings import StreamSettings, WindowSettings
from opendt.stream.replay import Replay
from opendt.stream.selection import round_of, select
from opendt.stream.source import open_windows
from opendt.traces.reader import Trace, TraceReport

HOUR_MS = 3_600_000


@pytest.fixture
def whole(trace):
    report = TraceReport(60, 0, 60, 0, 0)
    origin = int(trace.workload.tasks.submission_ms.min())
    return Trace("small", Path("small"), trace.workload, trace.power, None, trace.topology, report, origin)


def test_without_bounds_the_trace_is_sent_as_it_is(whole):
    assert select(whole, None, None) is whole


def test_fragments_are_cut_at_the_stop_and_announced_as_cut(whole):
    stop = whole.origin_ms + HOUR_MS
    part = select(whole, None, stop)
    tasks, fragments = part.workload.tasks, part.workload.fragments
    assert 0 < len(fragments) < len(whole.workload.fragments)
    assert int(tasks.fragment_count.sum()) == len(fragments)
    assert part.power.timestamp_ms.max() < stop
    spent = np.bincount(np.searchsorted(tasks.task_id, fragments.task_id), fragments.duration_ms, len(tasks))
    assert (tasks.submission_ms + spent <= stop).all()


def test_nothing_left_is_an_error(whole):
    with pytest.raises(TraceError):
        select(whole, whole.origin_ms + 10**12, None)


def test_a_round_follows_at_a_whole_hour_with_tasks_of_its_own(whole):
    third = round_of(whole, 2)
    tasks, before = third.workload.tasks, whole.workload.tasks
    shift = tasks.submission_ms[0] - before.submission_ms[0]
    assert shift % (2 * HOUR_MS) == 0
    assert tasks.submission_ms[0] - shift // 2 > whole.power.timestamp_ms.max()
    assert (tasks.submission_ms - before.submission_ms == shift).all()
    assert (third.power.timestamp_ms - whole.power.timestamp_ms == shift).all()
    assert tasks.name[0] == f"{before.name[0]}#2"
    assert tasks.task_id[0] == task_number(tasks.name[0])
    np.testing.assert_array_equal(third.workload.fragments.cpu_usage_mhz, whole.workload.fragments.cpu_usage_mhz)
    mine, theirs = third.workload.fragments.task_id, whole.workload.fragments.task_id
    assert (mine == tasks.task_id[0]).sum() == (theirs == before.task_id[0]).sum()


def test_a_loop_below_one_is_refused(whole):
    with pytest.raises(InputError, match="loop is 0"):
        Replay(whole, StreamSettings(), "dc", "r", loop=0)


def test_rounds_go_through_as_one_stream_with_one_end(embedded, whole, send):
    sender = send(whole, embedded, loop=3)
    with open_windows(embedded, WindowSettings(), "dc", "r1") as stream:
        batches = list(stream)
    assert sender.join().state == "completed"
    assert sum(len(b.workload.tasks) for b in batches) == 3 * len(whole.workload.tasks)
    assert sum(len(b.workload.fragments) for b in batches) == 3 * len(whole.workload.fragments)
    assert sum(len(b.power) for b in batches) == 3 * len(whole.power)
    assert [b.last for b in batches].count(True) == 1
    assert [b.index for b in batches if b.topology is not None] == [0]
    assert [record for b in batches for record in (*b.late, *b.dead)] == []
