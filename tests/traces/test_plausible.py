"""Values in another unit are doubted, values that are only unusual are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from opendt.models.telemetry import CarbonTrace
from opendt.models.topology import Topology
from opendt.models.workload import Fragments
from opendt.traces import read_trace
from opendt.traces.plausible import doubts
from opendt.traces.synthetic.generate import make_trace
from opendt.traces.synthetic.options import SyntheticOptions


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plausible") / "day"
    make_trace(folder, SyntheticOptions(days=0.25, hosts=6, seed=3))
    return read_trace(folder)


def with_power(trace, factor):
    return replace(trace, power=replace(trace.power, power_w=trace.power.power_w * factor))


def with_usage(trace, factor):
    old = trace.workload.fragments
    usage = Fragments(old.task_id, old.duration_ms, old.cpu_usage_mhz * factor, old.gpu_usage_mhz)
    return replace(trace, workload=replace(trace.workload, fragments=usage))


def with_carbon(trace, g_per_kwh):
    return replace(trace, carbon=CarbonTrace(np.array([trace.origin_ms]), np.array([g_per_kwh])))


def test_a_generated_recording_is_not_doubted(trace):
    assert doubts(trace) == []


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_data_sheet_that_is_off_by_two_is_no_reason_to_doubt(trace, factor):
    assert doubts(with_power(trace, factor)) == []


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_power_in_another_unit_is_doubted(trace, factor):
    (said,) = doubts(with_power(trace, factor))
    assert "is power_draw in watts" in said


@pytest.mark.parametrize("factor", [1e-3, 1e6])
def test_usage_in_another_unit_is_doubted(trace, factor):
    (said,) = doubts(with_usage(trace, factor))
    assert "is cpu_usage in MHz" in said


@pytest.mark.parametrize(("g_per_kwh", "doubted"), [(0.3, True), (12.0, False), (1100.0, False), (4e5, True)])
def test_intensity_in_another_unit_is_doubted(trace, g_per_kwh, doubted):
    assert bool(doubts(with_carbon(trace, g_per_kwh))) == doubted


def test_idle_recordings_and_those_without_a_topology_are_not_doubted(trace):
    assert doubts(with_usage(trace, 0.0)) == []
    assert doubts(replace(with_power(trace, 1e3), topology=None)) == []


def test_several_host_types_count_together(trace):
    twice = trace.topology.model_dump(mode="json")
    twice["clusters"].append({**twice["clusters"][0], "name": "second"})
    assert doubts(replace(with_power(trace, 1e-1), topology=Topology.model_validate(twice))) != []
