"""Measured power and carbon: which clock, which order, which file."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from opendt.errors import TraceError
from opendt.traces import read_trace

START_MS = 1_700_000_000_000


def test_small_integer_power_times_count_from_the_earliest_submission(tiny):
    power = read_trace(tiny(consumption={"timestamp": [30_000, 60_000], "power_draw": [5.0, 6.0]})).power
    assert power.timestamp_ms.tolist() == [START_MS + 30_000, START_MS + 60_000]
    assert power.power_w.tolist() == [5.0, 6.0]


@pytest.mark.parametrize("kind", [pa.int64(), pa.timestamp("ms"), pa.timestamp("us", "UTC")])
def test_large_integers_and_timestamps_are_epoch_times(tiny, kind):
    stamps = pa.array([START_MS, START_MS + 30_000], pa.int64())
    if kind != pa.int64():
        stamps = stamps.cast(pa.timestamp("ms")).cast(kind)
    power = read_trace(tiny(consumption={"timestamp": stamps, "power_draw": [5, 6]})).power
    assert power.timestamp_ms.tolist() == [START_MS, START_MS + 30_000]


def test_a_timestamp_in_1970_is_still_an_epoch_time(tiny):
    stamps = pa.array([0, 30_000], pa.timestamp("ms"))
    power = read_trace(tiny(consumption={"timestamp": stamps, "power_draw": [5.0, 6.0]})).power
    assert power.timestamp_ms.tolist() == [0, 30_000]


def test_unordered_power_is_sorted_and_counted(tiny):
    trace = read_trace(tiny(consumption={"timestamp": [60, 30, 90], "power_draw": [2.0, 1.0, 3.0]}))
    assert trace.power.power_w.tolist() == [1.0, 2.0, 3.0]
    assert trace.report.repaired == {"power rows out of time order, sorted": 1}


def test_rows_of_several_hosts_at_one_time_are_added(tiny):
    columns = {"timestamp": [30, 30, 60, 60], "host": ["a", "b", "a", "b"], "power_draw": [1.0, 2.0, 3.0, 4.0]}
    trace = read_trace(tiny(consumption=columns))
    assert trace.power.power_w.tolist() == [3.0, 7.0]
    assert trace.report.repaired == {"power rows of several hosts added": 2}


def test_second_reading_of_one_time_is_dropped_and_counted(tiny):
    trace = read_trace(tiny(consumption={"timestamp": [30, 30, 60], "power_draw": [1.0, 2.0, 3.0]}))
    assert trace.power.power_w.tolist() == [1.0, 3.0]
    assert trace.report.dropped == {"power duplicate time": 1}


def test_invalid_power_rows_are_skipped_when_asked(tiny):
    columns = {"timestamp": [30, 60, 90], "power_draw": [1.0, float("nan"), -3.0]}
    trace = read_trace(tiny(consumption=columns), skip_invalid=True)
    assert trace.power.power_w.tolist() == [1.0]
    assert trace.report.dropped == {"power power_draw not finite": 1, "power power_draw negative": 1}


def test_carbon_is_sorted_and_its_last_row_of_a_time_counts(tiny):
    columns = {"timestamp": [900_000, 0, 900_000], "carbon_intensity": [2.0, 1.0, 3.0]}
    carbon = read_trace(tiny(carbon=columns)).carbon
    assert carbon.at(np.array([-1, 0, 899_999, 900_000])).tolist() == [1.0, 1.0, 1.0, 3.0]


def _topology(carbon: str | None) -> str:
    source = {} if carbon is None else {"powerSource": {"carbonTracePath": carbon}}
    host = {"cpu": {"coreCount": 4, "coreSpeed": 1000}, "memory": {"memorySize": 100}}
    return json.dumps({"clusters": [{"hosts": [host], **source}]})


def test_carbon_trace_of_the_topology_is_found_beside_it(tiny):
    folder = tiny(carbon={"timestamp": [0], "carbon_intensity": [7.0]})
    (folder / "topology.json").write_text(_topology("/app/workload/carbon.parquet"))
    trace = read_trace(folder)
    assert trace.carbon.intensity_g_per_kwh.tolist() == [7.0]
    assert trace.topology.host_count == 1
    assert set(trace.sha256) == {"tasks.parquet", "fragments.parquet", "carbon.parquet", "topology.json"}


def test_another_topology_takes_its_carbon_from_its_own_folder(tiny, tmp_path):
    folder = tiny("week", carbon={"timestamp": [0], "carbon_intensity": [7.0]})
    other = tiny("other", carbon={"timestamp": [0], "carbon_intensity": [9.0]})
    (other / "topology.json").write_text(_topology("carbon.parquet"))
    assert read_trace(folder, topology=other / "topology.json").carbon.intensity_g_per_kwh.tolist() == [9.0]
    (tmp_path / "plain.json").write_text(_topology(None))
    assert read_trace(folder, topology=tmp_path / "plain.json").carbon.intensity_g_per_kwh.tolist() == [7.0]


def test_carbon_trace_that_is_nowhere_is_an_error(tiny):
    folder = tiny()
    (folder / "topology.json").write_text(_topology("/app/workload/carbon.parquet"))
    with pytest.raises(TraceError, match=r"carbonTracePath names /app/workload/carbon\.parquet"):
        read_trace(folder)


def test_absent_optional_files_are_none(tiny):
    trace = read_trace(tiny())
    assert (trace.power, trace.carbon, trace.topology) == (None, None, None)


def test_a_dropped_row_does_not_decide_which_clock_the_others_use(tiny):
    columns = {"timestamp": [30_000, 10**15, 60_000], "power_draw": [1.0, 2.0, 3.0]}
    power = read_trace(tiny(consumption=columns), skip_invalid=True).power
    assert power.timestamp_ms.tolist() == [START_MS + 30_000, START_MS + 60_000]
