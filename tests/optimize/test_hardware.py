"""Power that follows hardware: scaling with cores and speed, caps."""

import numpy as np
import pytest

from opendt.models.topology import PowerModel
from opendt.optimize.hardware import capped, peak_w, scaled, usable_ratio
from opendt.power.curves import power_w

MODELS = [
    PowerModel(modelType="linear", idlePower=100, maxPower=200),
    PowerModel(modelType="mse", idlePower=25, maxPower=174, calibrationFactor=4),
    PowerModel(modelType="active", idlePower=50, maxPower=200, stepPower=20, quadraticPower=-30),
    PowerModel(modelType="piecewise", idlePower=40, maxPower=120, levels=(40, 90, 120)),
]
GRID = np.linspace(0, 1, 41)


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.modelType)
def test_dynamic_power_scales_at_every_utilisation_and_idle_stays(model):
    idle = power_w(model, 0.0)
    changed = scaled(model, 0.5, 0.8, 2.0)
    assert power_w(changed, GRID) - idle == pytest.approx((power_w(model, GRID) - idle) * 0.5 * 0.64)


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.modelType)
def test_the_same_hardware_keeps_its_model(model):
    assert scaled(model, 1.0, 1.0, 2.0) is model


@pytest.mark.parametrize("model", MODELS[:2] + MODELS[3:], ids=lambda m: m.modelType)
def test_a_capped_host_draws_the_same_for_the_same_work_and_never_more_than_the_cap(model):
    cap = 0.8 * peak_w(model)
    usable = usable_ratio(model, cap)
    small = capped(model, usable)
    assert power_w(small, GRID).max() <= cap
    assert power_w(small, GRID) == pytest.approx(power_w(model, GRID * usable), rel=2e-3)


def test_a_linear_cap_by_hand():
    assert usable_ratio(MODELS[0], 150) == pytest.approx(0.5, abs=1e-3)


def test_a_cap_above_the_peak_does_not_bind():
    assert usable_ratio(MODELS[1], 1000) == 1.0


def test_the_peak_of_mse_lies_inside_the_range():
    assert peak_w(MODELS[1]) > 174
