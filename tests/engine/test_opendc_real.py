"""What only the real OpenDC can show; skipped without ``OPENDC_HOME``."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from opendt.engine.base import EngineOptions, simulate
from opendt.engine.experiment import load_inputs, read_scenarios
from opendt.engine.opendc.engine import OpenDCEngine
from opendt.errors import EngineBusyError, EngineError
from opendt.models.topology import parse_topology
from opendt.settings import OpenDCSettings

pytestmark = [
    pytest.mark.opendc,
    pytest.mark.slow,
    pytest.mark.skipif(not os.environ.get("OPENDC_HOME"), reason="OPENDC_HOME is not set: no OpenDC to run"),
]


@pytest.fixture
def make_engine(tmp_path):
    return lambda **more: OpenDCEngine(
        OpenDCSettings(home=Path(os.environ["OPENDC_HOME"]), archive=tmp_path / "runs", **more)
    )


@pytest.fixture
def inputs(golden):
    return load_inputs(read_scenarios(golden / "queueing_many/experiment.json")[0])


def with_hosts(topology, count):
    data = topology.model_dump()
    data["clusters"][0]["hosts"][0]["count"] = count
    return parse_topology(data)


@pytest.mark.parametrize("parallel", [1, 2])
def test_many_topologies_give_what_single_runs_give(make_engine, inputs, parallel):
    variants = [with_hosts(inputs.topology, count) for count in (2, 3, 4)]
    many = make_engine(parallel=parallel).simulate_many(variants, inputs.workload, inputs.options)
    single = [simulate(make_engine(), v, inputs.workload, inputs.options) for v in variants]
    assert [m.host.to_pylist() for m in many] == [s.host.to_pylist() for s in single]
    assert len({m.energy_j for m in many}) == 3


def test_an_input_that_never_ends_meets_the_time_limit(make_engine, inputs):
    """SEMANTICS 11.6: without size filters a task larger than its host is lost."""
    inputs.workload.tasks.cpu_count[0] = 10_000
    options = EngineOptions(sample_interval_ms=60_000, allocation={"type": "filter"})
    with pytest.raises(EngineError, match="did not end within 5 s"):
        simulate(make_engine(timeout_s=5.0), inputs.topology, inputs.workload, options)


def test_too_little_memory_is_transient(make_engine, inputs):
    with pytest.raises(EngineBusyError, match="memory"):
        simulate(make_engine(jvm_options=("-Xmx8m",)), inputs.topology, inputs.workload, inputs.options)


def test_a_policy_opendc_does_not_know_is_told_in_one_sentence(make_engine, inputs):
    with pytest.raises(EngineError, match=r"OpenDC failed: .*Best") as caught:
        simulate(
            make_engine(),
            inputs.topology,
            inputs.workload,
            EngineOptions(allocation={"type": "prefab", "policyName": "Best"}),
        )
    assert "\n" not in caught.value.message
