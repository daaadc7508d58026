"""Outcomes summed up from simulation tables, by hand."""

import numpy as np
import pyarrow as pa
import pytest
from optimize_builders import ToyEngine, topology, workload

from opendt.engine.base import EngineOptions, Occupancy, SimulationResult, simulate
from opendt.optimize.outcome import outcome_of


def test_tasks_one_after_another_on_one_host():
    # one host of 16 cores; three tasks of 12 cores and 1 h submitted every 10 min run one after another
    result = simulate(ToyEngine(), topology(1), workload(3, cores=12), EngineOptions())
    found = outcome_of(result, topology(1), workload(3, cores=12))
    assert found.runtime_h == pytest.approx(3.0)
    assert found.queue_delay_s == pytest.approx((0 + 3000 + 6000) / 3)
    assert (found.peak_cores, found.tasks_completed, found.tasks_lost) == (12, 3, 0)
    # 100 W idle + 100 W * 12/16
    assert found.peak_power_kw == pytest.approx(0.175)
    assert found.energy_kwh == pytest.approx(3 * 0.175)
    assert found.work_mhz_s == pytest.approx(3 * 3600 * 12 * 2100)


def _result(power_source, events, occupancy=None):
    empty = pa.table({})
    return SimulationResult(power_source, empty, empty, None, events, occupancy, 3.6e6, 500.0, 1, 1, 2, 0, 3)


def _events(*rows):
    return pa.table(
        {"task_id": pa.array([r[0] for r in rows], pa.int64()), "event": [r[1] for r in rows],
         "time_ms": pa.array([r[2] for r in rows], pa.int64())}
    )  # fmt: skip


SOURCE = pa.table(
    {
        "timestamp": [30, 30, 60, 60, 60, 60],
        "source_name": ["A", "B", "A", "B", "A", "B"],
        "power_draw": pa.array([100, 50, 80, 60, 0, 0], pa.float32()),
    }
)


def test_the_peak_adds_sources_at_one_time_and_ignores_the_second_final_sample():
    found = outcome_of(_result(SOURCE, _events((0, "submitted", 0), (0, "completed", 60))), topology(1), workload(1))
    assert found.peak_power_kw == pytest.approx(0.15)


def test_units_are_converted_and_terminated_and_waiting_tasks_are_lost():
    events = _events((0, "submitted", 0), (0, "terminated", 7_200_000))
    found = outcome_of(_result(SOURCE, events), topology(1), workload(1))
    assert (found.energy_kwh, found.carbon_kg, found.tasks_lost) == (1.0, 0.5, 5)
    assert found.runtime_h == pytest.approx(2.0)
    assert found.queue_delay_s == 0.0


def test_a_task_placed_again_after_a_failure_waited_once():
    events = _events((0, "submitted", 0), (0, "scheduled", 5000), (0, "failed", 9000), (0, "scheduled", 20_000))
    found = outcome_of(_result(SOURCE, events), topology(1), workload(1))
    assert found.queue_delay_s == pytest.approx(5.0)


def test_delivered_work_is_the_integral_of_granted_capacity():
    # two samples 10 s and 20 s after the start; half a host, then a quarter, of 33,600 MHz
    weights = np.array([[[0.5, 0.5]], [[0.75, 0.25]]], np.float32)
    occupancy = Occupancy(
        np.array([10_000, 30_000]), np.array([0.0, 1.0]), ((0, 0),), weights, weights, weights[:, :, 0]
    )
    found = outcome_of(_result(SOURCE, _events((0, "submitted", 0)), occupancy), topology(1), workload(1))
    assert found.work_mhz_s == pytest.approx(33_600 * (10 * 0.5 + 20 * 0.25))
