"""Chunks and heartbeats, worked by hand."""

from __future__ import annotations

import numpy as np

from opendt.models.workload import Fragments, make_tasks
from opendt.stream.schedule import boundaries, events, make_chunks, merge, silent


def fragments(rows):
    owner, duration = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    return Fragments(owner, duration, np.arange(len(rows), dtype=float), np.zeros(len(rows)))


def test_chunks_begin_when_their_first_fragment_does():
    tasks = make_tasks(np.array([7, 3, 5]), np.array([1000, 2000, 3000]))
    chunks = make_chunks(tasks, fragments([(7, 10), (7, 20), (7, 30), (5, 40), (5, 50)]), 2)
    assert chunks.task.tolist() == [0, 0, 2]
    assert chunks.first.tolist() == [0, 2, 0]
    assert (chunks.stop - chunks.start).tolist() == [2, 1, 2]
    assert chunks.begin_ms.tolist() == [1000, 1030, 3000]


def test_fragments_of_different_tasks_may_be_mixed():
    tasks = make_tasks(np.array([7, 3]), np.array([1000, 2000]))
    chunks = make_chunks(tasks, fragments([(3, 1), (7, 2), (3, 4), (7, 8)]), 9)
    assert chunks.fragments.task_id.tolist() == [7, 7, 3, 3]
    assert chunks.fragments.duration_ms.tolist() == [2, 8, 1, 4]


def test_constant_columns_are_marked():
    tasks = make_tasks(np.array([7]), np.array([0]))
    chunks = make_chunks(tasks, fragments([(7, 5), (7, 5), (7, 5), (7, 6)]), 2)
    assert chunks.constant_duration.tolist() == [True, False]
    assert chunks.constant_cpu.tolist() == [False, False]
    assert chunks.constant_gpu.tolist() == [True, True]


def test_a_trace_without_fragments_has_no_chunks():
    tasks = make_tasks(np.array([7]), np.array([0]))
    none = np.zeros(0, np.int64)
    assert len(make_chunks(tasks, Fragments(none, none, np.zeros(0), np.zeros(0)), 2)) == 0


def test_equal_times_are_ordered_by_kind_then_number():
    p = np.zeros(2, np.int32)
    plan = merge([events(3, np.array([5, 1]), p), events(2, np.array([5, 5]), p)])
    assert list(zip(plan.time_ms.tolist(), plan.kind.tolist(), plan.index.tolist(), strict=True)) == [
        (1, 3, 1), (5, 2, 0), (5, 2, 1), (5, 3, 0),
    ]  # fmt: skip


def test_heartbeats_go_where_nothing_was_sent_since_the_one_before():
    at = boundaries(130, 400, 60)
    assert at.tolist() == [120, 180, 240, 300, 360]
    assert silent(at, np.array([121, 240, 399])).tolist() == [True, False, False, True, True]
    assert silent(at, np.zeros(0, np.int64)).all()
