"""Models priced over a whole run add up to what was measured while it ran."""

from __future__ import annotations

import numpy as np
import pytest
from optimize_builders import problem

from opendt.models.topology import PowerModel
from opendt.optimize.anchor import anchored, scaled
from opendt.optimize.uncertainty import Evidence, energy_kwh
from opendt.power.curves import power_w

MODELS = [
    PowerModel(modelType="constant", power=300),
    PowerModel(modelType="linear", idlePower=100, maxPower=300),
    PowerModel(modelType="mse", idlePower=100, maxPower=300, calibrationFactor=1.4),
    PowerModel(modelType="asymptotic", idlePower=100, maxPower=300, asymUtil=0.3),
    PowerModel(modelType="active", idlePower=100, maxPower=300, stepPower=20, quadraticPower=-30),
    PowerModel(modelType="piecewise", idlePower=100, maxPower=300, levels=(100, 180, 300)),
]


def linear(idle_w: float, most_w: float) -> tuple[PowerModel, ...]:
    return (PowerModel(modelType="linear", idlePower=idle_w, maxPower=most_w),)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.modelType)
def test_scaling_multiplies_every_watt(model):
    utilization = np.linspace(0, 1, 11)
    assert power_w(scaled(model, 1.25), utilization) == pytest.approx(1.25 * power_w(model, utilization))


def test_the_model_that_needs_least_scaling_is_the_estimate_and_all_add_up_to_what_was_measured():
    asked = problem()
    ensemble = (linear(80, 150), linear(100, 210), linear(150, 400))
    middle_kwh = energy_kwh(asked.baseline, [ensemble[1]])[0]
    given_kwh = asked.baseline.outcome.energy_kwh
    evidence = Evidence(ensemble, measured_ratio=1.01 * middle_kwh / given_kwh)
    model, evidence = anchored(asked.baseline, asked.topology, evidence)
    chosen = model.clusters[0].hosts[0].cpuPowerModel
    assert (chosen.idlePower, chosen.maxPower) == pytest.approx((101, 212.1))
    assert energy_kwh(asked.baseline, evidence.ensemble) == pytest.approx([1.01 * middle_kwh] * 3, rel=1e-5)


def test_models_that_come_nowhere_near_are_left_out():
    asked = problem()
    near, far = linear(100, 200), linear(1, 2)
    _, evidence = anchored(asked.baseline, asked.topology, Evidence((near, far), measured_ratio=1.0))
    assert len(evidence.ensemble) == 1
    alone = Evidence((far,), measured_ratio=1.0)
    assert anchored(asked.baseline, asked.topology, alone) == (asked.baseline.topology, alone)


@pytest.mark.parametrize("evidence", [Evidence(), Evidence((linear(1, 2),)), Evidence(measured_ratio=1.1)])
def test_without_a_measurement_or_a_calibration_nothing_changes(evidence):
    asked = problem()
    assert anchored(asked.baseline, asked.topology, evidence) == (asked.baseline.topology, evidence)
