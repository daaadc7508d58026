"""Properties of the reader: what may differ between two files of the same workload."""

from __future__ import annotations

import tempfile
from dataclasses import fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from opendt.models.workload import Workload, task_number, with_fragment_facts
from opendt.traces import read_trace
from opendt.traces.grouping import row_of_number

START_MS = 1_700_000_000_000


@st.composite
def workloads(draw):
    """Task rows (id, submission offset) and fragment rows (task index, duration, usage)."""
    ids = draw(st.lists(st.integers(-5, 100_000), min_size=1, max_size=8, unique=True))
    offsets = draw(st.lists(st.integers(0, 10_000), min_size=len(ids), max_size=len(ids)))
    row = st.tuples(st.integers(0, len(ids) - 1), st.integers(0, 9_000), st.sampled_from([0.0, 0.25, 3000.0]))
    return ids, offsets, draw(st.lists(row, min_size=1, max_size=40))


def read(ids, offsets, rows, id_type, time_type) -> Workload:
    def cast(values):
        return pa.array([str(v) for v in values] if pa.types.is_string(id_type) else values, id_type)

    submitted = pa.array([START_MS + o for o in offsets], pa.int64())
    count = len(ids)
    tasks = {
        "id": cast(ids),
        "submission_time": submitted.cast(pa.timestamp("ms")).cast(time_type) if time_type else submitted,
        "duration": [0] * count,
        "cpu_count": [1] * count,
        "cpu_capacity": [1.0] * count,
        "mem_capacity": [0] * count,
    }
    fragments = {
        "id": cast([ids[task] for task, _, _ in rows]),
        "duration": pa.array([duration for _, duration, _ in rows], pa.int64()),
        "cpu_usage": [usage for _, _, usage in rows],
    }
    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(pa.table(tasks), Path(folder) / "tasks.parquet")
        pq.write_table(pa.table(fragments), Path(folder) / "fragments.parquet", row_group_size=7)
        return read_trace(folder).workload


def assert_same(one: Workload, other: Workload) -> None:
    for part in ("tasks", "fragments"):
        a, b = getattr(one, part), getattr(other, part)
        for column in fields(a):
            np.testing.assert_array_equal(getattr(a, column.name), getattr(b, column.name), err_msg=column.name)


@settings(max_examples=60, deadline=None)
@given(workloads(), st.randoms(use_true_random=False))
def test_rows_of_different_tasks_may_be_interleaved_in_any_way(made, random):
    ids, offsets, rows = made
    places = [task for task, _, _ in rows]
    random.shuffle(places)
    queues = {task: iter([row for row in rows if row[0] == task]) for task in set(places)}
    shuffled = [next(queues[task]) for task in places]
    assert_same(
        read(ids, offsets, rows, pa.string(), None),
        read(ids, offsets, shuffled, pa.string(), None),
    )


@settings(max_examples=40, deadline=None)
@given(workloads(), st.sampled_from([pa.int32(), pa.int64()]), st.sampled_from(["ms", "us", "ns"]))
def test_id_and_time_types_do_not_matter(made, id_type, unit):
    ids, offsets, rows = made
    assert_same(
        read(ids, offsets, rows, pa.string(), None),
        read(ids, offsets, rows, id_type, pa.timestamp(unit, "UTC")),
    )


@settings(max_examples=40, deadline=None)
@given(workloads())
def test_fragment_facts_equal_those_counted_the_slow_way(made):
    ids, offsets, rows = made
    workload = read(ids, offsets, rows, pa.string(), None)
    slow = with_fragment_facts(workload.tasks, workload.fragments)
    np.testing.assert_array_equal(workload.tasks.fragment_count, slow.fragment_count)
    np.testing.assert_array_equal(workload.tasks.has_cpu_usage, slow.has_cpu_usage)
    expected = [(ids[t], d, u) for task in range(len(ids)) for t, d, u in rows if t == task]
    fragments = workload.fragments
    found = zip(
        fragments.task_id.tolist(), fragments.duration_ms.tolist(), fragments.cpu_usage_mhz.tolist(), strict=True
    )
    assert list(found) == expected


@given(st.text(max_size=12) | st.integers(-(2**64), 2**64).map(str))
def test_task_number_fits_and_keeps_exactly_the_plain_integers(text):
    number = task_number(text)
    assert -(2**63) <= number < 2**63
    assert (str(number) == text) == _plain(text)


def _plain(text: str) -> bool:
    try:
        return str(int(text)) == text and -(2**63) <= int(text) < 2**63
    except ValueError:
        return False


@given(st.lists(st.integers(-(2**62), 2**62) | st.integers(-20, 20), max_size=20), st.lists(st.integers(-20, 20)))
def test_lookup_finds_the_first_row_of_each_number(known, extra):
    wanted = (known + extra) * 4
    found = row_of_number(np.array(known, np.int64), np.array(wanted, np.int64))
    assert found.tolist() == [known.index(n) if n in known else -1 for n in wanted]
