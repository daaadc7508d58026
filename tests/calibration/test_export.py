"""Learned curves as power models: monotone, and as close to OpenDC's as one can get."""

import numpy as np
import pytest

from opendt.calibration.export import as_power_model, nearest_opendc
from opendt.models.topology import PowerModel
from opendt.power.curves import power_w

AT = np.linspace(0, 1, 65)
EVERYWHERE = np.ones(65)


def test_a_monotone_curve_is_exported_as_it_is():
    model = as_power_model(50 + 100 * AT, 0.0, EVERYWHERE)
    np.testing.assert_allclose(power_w(model, AT), 50 + 100 * AT, atol=1e-3)


def test_the_step_goes_to_every_level_above_idle():
    model = as_power_model(50 + 100 * AT, 20.0, EVERYWHERE)
    assert model.idlePower == 50
    assert float(power_w(model, 0.5)) == pytest.approx(120)


def test_wiggles_are_flattened_and_rare_utilisations_give_way():
    levels = np.linspace(50, 150, 65)
    levels[30] = 20
    seen = np.full(65, 1_000.0)
    seen[30] = 1
    watts = power_w(as_power_model(levels, 0.0, seen), AT)
    assert (np.diff(watts) >= 0).all()
    assert watts[30] == pytest.approx(levels[29], abs=1.0)


def test_negative_watts_become_zero():
    assert as_power_model(np.linspace(-10, 50, 65), 0.0, EVERYWHERE).idlePower == 0


def test_opendcs_own_models_come_back_unchanged():
    model = PowerModel(modelType="cubic", idlePower=10, maxPower=20)
    assert nearest_opendc(model) == type(nearest_opendc(model))(model, 0.0)


@pytest.mark.parametrize(
    "truth",
    [
        PowerModel(modelType="linear", idlePower=60, maxPower=180),
        PowerModel(modelType="sqrt", idlePower=60, maxPower=180),
        PowerModel(modelType="mse", idlePower=60, maxPower=180, calibrationFactor=3.0),
        PowerModel(modelType="asymptotic", idlePower=60, maxPower=180, asymUtil=0.3, dvfs=False),
    ],
    ids=lambda m: m.modelType,
)
def test_a_learned_opendc_curve_is_recognised(truth):
    found = nearest_opendc(as_power_model(power_w(truth, AT), 0.0, EVERYWHERE))
    assert found.loss_pct < 0.5
    np.testing.assert_allclose(power_w(found.model, AT), power_w(truth, AT), rtol=0.03)


def test_the_loss_of_a_curve_opendc_lacks_is_stated():
    truth = PowerModel(modelType="active", idlePower=60, maxPower=180, stepPower=90)
    found = nearest_opendc(truth)
    wanted = power_w(truth, AT)
    lost = np.mean(np.abs(power_w(found.model, AT) - wanted) / wanted) * 100
    assert found.loss_pct == pytest.approx(lost, rel=1e-3)
    assert found.loss_pct > 1


def test_utilisations_never_seen_do_not_count():
    truth = PowerModel(modelType="piecewise", idlePower=50, maxPower=150, levels=(50, 100, 100, 100, 150))
    seen = np.zeros(65)
    seen[[0, 64]] = 100
    assert nearest_opendc(truth, seen).loss_pct < 0.1
