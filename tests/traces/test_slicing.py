"""Cutting a trace, and writing it again."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from opendt.errors import TraceError
from opendt.traces import read_trace, slice_trace
from opendt.traces.writer import new_folder, write_carbon, write_power, write_topology, write_workload

START_MS = 1_700_000_000_000


def test_fragment_that_spans_the_end_is_shortened_and_later_ones_go(tiny):
    cut = slice_trace(read_trace(tiny()), START_MS, START_MS + 20_000)
    assert cut.workload.tasks.name.tolist() == ["10", "11", "x-12"]
    assert cut.workload.fragments.task_id.tolist() == [10, 11]
    assert cut.workload.fragments.duration_ms.tolist() == [20_000, 19_000]
    assert cut.workload.tasks.fragment_count.tolist() == [1, 1, 0]
    assert cut.workload.tasks.duration_ms.tolist() == [60_000, 30_000, 5_000]
    assert (cut.report.tasks, cut.report.fragments, cut.report.runnable) == (3, 2, 2)


def test_fragment_that_begins_at_the_end_is_left_out(tiny):
    cut = slice_trace(read_trace(tiny()), START_MS, START_MS + 30_000)
    assert cut.workload.fragments.duration_ms.tolist() == [30_000, 29_000]


def test_tasks_submitted_before_or_at_the_end_are_left_out(tiny):
    cut = slice_trace(read_trace(tiny()), START_MS + 500, START_MS + 60_000)
    assert cut.workload.tasks.name.tolist() == ["11", "x-12"]
    assert cut.origin_ms == START_MS + 1_000
    assert len(slice_trace(read_trace(tiny()), START_MS, START_MS + 1_000).workload.tasks) == 1


def test_power_is_cut_and_parents_outside_are_forgotten(tiny):
    folder = tiny(
        tasks_parents=[[], ["10"], ["10", "11"]],
        consumption={"timestamp": [0, 1_000, 2_000], "power_draw": [1.0, 2.0, 3.0]},
    )
    cut = slice_trace(read_trace(folder), START_MS + 1_000, START_MS + 2_000)
    assert cut.power.power_w.tolist() == [2.0]
    assert list(cut.workload.tasks.parents.values()) == [(11,)]


def test_empty_ranges_are_refused(tiny):
    trace = read_trace(tiny())
    with pytest.raises(TraceError, match="later end"):
        slice_trace(trace, START_MS, START_MS)
    with pytest.raises(TraceError, match="no task of week is submitted"):
        slice_trace(trace, 0, START_MS)


def test_first_day_of_surf_equals_the_golden_workload(surf_dir, golden_dir):
    trace = read_trace(surf_dir)
    cut = slice_trace(trace, trace.origin_ms, trace.origin_ms + 86_400_000).workload
    golden = read_trace(golden_dir / "surf_24h" / "workload").workload
    for part in ("tasks", "fragments"):
        for column in fields(getattr(golden, part)):
            mine, theirs = (getattr(getattr(w, part), column.name) for w in (cut, golden))
            np.testing.assert_array_equal(mine, theirs, err_msg=column.name)


def test_written_trace_reads_back_the_same(tiny, tmp_path):
    folder = tiny(
        tasks_gpu_count=[1, 0, 0],
        tasks_gpu_capacity=[5.0, 0.0, 0.0],
        tasks_parents=[[], ["x-12"], []],
        tasks_nature=["deferrable", "", ""],
        tasks_deadline=[START_MS + 9, -1, -1],
        fragments_gpu_usage=[0.0, 2.5, 0.0],
        consumption={"timestamp": [30_000, 60_000], "power_draw": [1.0, 2.0]},
        carbon={"timestamp": [START_MS], "carbon_intensity": [3.0]},
    )
    (folder / "topology.json").write_text(
        '{"clusters": [{"hosts": [{"cpu": {"coreCount": 4, "coreSpeed": 1000}, "memory": {"memorySize": 100}}]}]}'
    )
    one = read_trace(folder)
    with new_folder(tmp_path / "copy") as copy:
        write_workload(copy, one.workload)
        write_power(copy, one.power, 30_000, one.origin_ms)
        write_carbon(copy, one.carbon)
        write_topology(copy, one.topology)
    other = read_trace(tmp_path / "copy")
    for part in ("tasks", "fragments"):
        for column in fields(getattr(one.workload, part)):
            a, b = (getattr(getattr(t.workload, part), column.name) for t in (one, other))
            np.testing.assert_array_equal(a, b, err_msg=column.name)
    np.testing.assert_array_equal(one.power.timestamp_ms, other.power.timestamp_ms)
    np.testing.assert_array_equal(one.carbon.intensity_g_per_kwh, other.carbon.intensity_g_per_kwh)
    assert one.topology == other.topology


def test_folder_appears_whole_or_not_at_all(tmp_path):
    def fail() -> None:
        with new_folder(tmp_path / "new") as folder:
            (folder / "half").write_text("x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_full_folder_is_replaced_only_when_forced(tmp_path):
    dest = tmp_path / "old"
    dest.mkdir()
    with new_folder(dest) as folder:  # an empty folder is fine
        (folder / "a").write_text("1")
    with pytest.raises(TraceError, match="--force"), new_folder(dest):
        pass
    assert (dest / "a").read_text() == "1"
    with new_folder(dest, force=True) as folder:
        (folder / "b").write_text("2")
    assert [p.name for p in dest.iterdir()] == ["b"]
    assert [p.name for p in tmp_path.iterdir()] == ["old"]
