"""Reading a folder: which rows become which columns, for every id and time type."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from opendt.models.workload import task_number, task_numbers
from opendt.traces import read_trace

START_MS = 1_700_000_000_000


def test_fragments_are_grouped_in_task_order_and_keep_file_order(tiny):
    workload = read_trace(tiny()).workload
    assert workload.fragments.task_id.tolist() == [10, 10, 11]
    assert workload.fragments.cpu_usage_mhz.tolist() == [8000.0, 0.0, 3000.0]
    assert workload.tasks.fragment_count.tolist() == [2, 1, 0]
    assert workload.tasks.has_cpu_usage.tolist() == [True, True, False]
    assert workload.runnable.tolist() == [True, True, False]


def test_report_counts_tasks_without_fragments(tiny):
    report = read_trace(tiny()).report
    assert (report.tasks, report.runnable, report.tasks_without_fragments, report.fragments) == (3, 2, 1, 3)
    assert report.sentences() == ["1 tasks have no fragments and will not run"]


def test_tasks_keep_file_order_names_and_values(tiny):
    trace = read_trace(tiny("week"))
    tasks = trace.workload.tasks
    assert tasks.name.tolist() == ["10", "11", "x-12"]
    assert tasks.task_id.tolist() == [10, 11, task_number("x-12")]
    assert tasks.submission_ms.tolist() == [START_MS, START_MS + 1000, START_MS + 1000]
    assert tasks.cpu_count.tolist() == [4, 2, 1]
    assert tasks.mem_capacity.tolist() == [100_000, 50_000, 1_000]
    assert (trace.name, trace.origin_ms) == ("week", START_MS)


@pytest.mark.parametrize("kind", [pa.int32(), pa.int64(), pa.string(), pa.large_string(), pa.uint16()])
def test_every_id_type_gives_the_same_workload(tiny, kind):
    number = pa.types.is_integer(kind)
    ids, fragment_ids = ([10, 11, 12], [11, 10, 10]) if number else (["10", "11", "12"], ["11", "10", "10"])
    folder = tiny(tasks_id=pa.array(ids, kind), fragments_id=pa.array(fragment_ids, kind))
    workload = read_trace(folder).workload
    assert workload.tasks.task_id.tolist() == [10, 11, 12]
    assert workload.tasks.name.tolist() == ["10", "11", "12"]
    assert workload.fragments.task_id.tolist() == [10, 10, 11]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Amsterdam"])
def test_every_time_type_gives_the_same_times(tiny, unit, zone):
    moments = [datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC) + timedelta(seconds=s) for s in (0, 1, 1)]
    if zone is None:
        moments = [m.replace(tzinfo=None) for m in moments]
    folder = tiny(tasks_submission_time=pa.array(moments, pa.timestamp(unit, zone)))
    assert read_trace(folder).workload.tasks.submission_ms.tolist() == [START_MS, START_MS + 1000, START_MS + 1000]


def test_task_number_is_the_integer_only_where_the_text_is_one():
    assert task_number("2133099") == 2133099
    assert task_number("-4") == -4
    assert task_number(str(2**63 - 1)) == 2**63 - 1
    for text in ("007", "+7", " 7", "7.0", "", "x", str(2**63), "٧", "-0"):
        assert 0 <= task_number(text) < 2**63
        assert task_number(text) != 7
    assert task_number("x-12") == 4438309265022622754
    assert task_numbers(["7", "x-12"]).tolist() == [7, task_number("x-12")]


def test_surf_week_counts(surf_dir):
    trace = read_trace(surf_dir)
    assert (trace.report.tasks, trace.report.fragments, trace.report.runnable) == (7850, 2_323_475, 6295)
    assert trace.origin_ms == 1_665_093_600_000
    assert trace.power is not None
    assert trace.power.timestamp_ms[0] == trace.origin_ms + 30_000
    assert trace.carbon is not None
    assert len(trace.carbon) == 34_944
    assert trace.topology is not None
    assert trace.topology.host_count == 277
    assert np.all(np.diff(trace.power.timestamp_ms) > 0)


def test_bitbrains_has_integer_ids_and_times(bitbrains_dir):
    trace = read_trace(bitbrains_dir)
    assert (trace.report.tasks, trace.report.fragments) == (50, 276_979)
    assert trace.power is None


def test_arrays_are_writable_and_contiguous_so_that_kernels_need_one_version(tiny):
    columns = {"timestamp": [30_000, 60_000], "power_draw": [1.0, 2.0]}
    trace = read_trace(tiny(consumption=columns, carbon={"timestamp": [0], "carbon_intensity": [1.0]}))
    parts = (trace.workload.tasks, trace.workload.fragments, trace.power, trace.carbon)
    arrays = [getattr(part, column.name) for part in parts for column in fields(part) if column.name != "parents"]
    assert [a.flags.writeable and a.flags.c_contiguous for a in arrays] == [True] * len(arrays)
