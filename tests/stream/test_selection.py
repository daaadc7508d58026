"""Which part of a trace is sent, and how often."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from opendt.errors import InputError, TraceError
from opendt.models.workload import task_number
from opendt.stream.selection import select
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


def test_a_loop_follows_at_a_whole_hour_with_tasks_of_its_own(whole):
    looped = select(whole, None, None, loop=3)
    tasks, n = looped.workload.tasks, len(whole.workload.tasks)
    assert len(tasks) == 3 * n
    assert len(np.unique(tasks.task_id)) == 3 * n
    shift = tasks.submission_ms[n] - tasks.submission_ms[0]
    assert shift % HOUR_MS == 0
    assert tasks.submission_ms[n] > whole.power.timestamp_ms.max()
    assert tasks.name[n] == f"{tasks.name[0]}#1"
    assert tasks.task_id[n] == task_number(tasks.name[n])
    assert (np.diff(looped.power.timestamp_ms) > 0).all()
    first = looped.workload.fragments.task_id == tasks.task_id[0]
    third = looped.workload.fragments.task_id == tasks.task_id[2 * n]
    usage = looped.workload.fragments.cpu_usage_mhz
    np.testing.assert_array_equal(usage[first], usage[third])


def test_a_loop_below_one_is_refused(whole):
    with pytest.raises(InputError, match="loop is 0"):
        select(whole, None, None, loop=0)
