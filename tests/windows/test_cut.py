"""Windows cut from a trace follow the rules of the stream."""

from __future__ import annotations

import numpy as np

from opendt.models.telemetry import PowerSeries
from opendt.models.workload import Fragments, Workload, empty_workload, make_tasks, with_fragment_facts
from opendt.windows.cut import cut_windows

HOUR = 3_600_000


def workload(*tasks):
    """Tasks as (submission_ms, [fragment durations])."""
    ids = np.arange(len(tasks))
    rows = [(i, d) for i, (_, durations) in enumerate(tasks) for d in durations]
    fragments = Fragments(
        np.array([i for i, _ in rows], np.int64),
        np.array([d for _, d in rows], np.int64),
        np.ones(len(rows)),
        np.zeros(len(rows)),
    )
    heads = make_tasks(ids, np.array([s for s, _ in tasks], np.int64))
    return Workload(with_fragment_facts(heads, fragments), fragments)


def test_task_at_window_end_belongs_to_next_window():
    windows = list(cut_windows(workload((0, [1]), (HOUR, [1])), None, HOUR))
    assert [w.workload.tasks.task_id.tolist() for w in windows] == [[0], [1]]
    assert [w.last for w in windows] == [False, True]


def test_fragment_belongs_to_the_window_in_which_it_begins():
    windows = list(cut_windows(workload((HOUR - 10, [10, 5, 5])), None, HOUR))
    assert [w.workload.fragments.duration_ms.tolist() for w in windows] == [[10], [5, 5]]


def test_windows_without_records_are_there_too():
    windows = list(cut_windows(workload((0, [1]), (3 * HOUR, [1])), None, HOUR))
    assert [(w.index, len(w.workload.tasks)) for w in windows] == [(0, 1), (1, 0), (2, 0), (3, 1)]


def test_tasks_are_ordered_by_submission_and_ties_keep_file_order():
    [window] = cut_windows(workload((5, [1]), (2, [1]), (5, [1])), None, HOUR)
    assert window.workload.tasks.task_id.tolist() == [1, 0, 2]


def test_readings_belong_to_the_window_of_their_time():
    power = PowerSeries(np.array([0, HOUR - 1, HOUR]), np.array([1.0, 2.0, 3.0]))
    windows = list(cut_windows(workload((0, [1])), power, HOUR))
    assert [w.power.power_w.tolist() for w in windows] == [[1.0, 2.0], [3.0]]


def test_nothing_gives_no_windows():
    assert list(cut_windows(empty_workload(), None, HOUR)) == []
