"""Pricing an occupancy: one matrix product equals the sum over hosts."""

import numpy as np
import pytest

from opendt.engine.base import Occupancy
from opendt.errors import InputError
from opendt.models.topology import PowerModel, parse_topology
from opendt.power.curves import power_w
from opendt.power.pricing import group_models, price, price_many, topology_groups, with_group_models

KNOTS = np.linspace(0, 1, 5)
LINEAR = PowerModel(modelType="linear", idlePower=100, maxPower=200)
MSE = PowerModel(modelType="mse", idlePower=50, maxPower=150, calibrationFactor=3)


def occupancy_of(utilization: np.ndarray, groups: int = 1) -> Occupancy:
    """Occupancy of hosts whose utilisation is given as (sample, group, host)."""
    samples = len(utilization)
    weights = np.zeros((samples, groups, len(KNOTS)), np.float32)
    for s, g, h in np.ndindex(utilization.shape):
        position = utilization[s, g, h] * (len(KNOTS) - 1)
        left = min(int(position), len(KNOTS) - 2)
        weights[s, g, left] += left + 1 - position
        weights[s, g, left + 1] += position - left
    names = tuple((0, g) for g in range(groups))
    return Occupancy(np.arange(samples) * 30_000, KNOTS, names, weights, weights * 2, (utilization > 0).sum(2))


def test_hosts_at_knots_are_priced_exactly():
    utilization = np.array([[[0, 0.25, 1.0]], [[0.5, 0.5, 0.75]]])
    expected = power_w(MSE, utilization).sum(axis=(1, 2))
    np.testing.assert_allclose(price(occupancy_of(utilization), [MSE]), expected, rtol=1e-6)


def test_a_linear_curve_is_priced_exactly_between_knots():
    utilization = np.random.default_rng(1).uniform(0, 1, (7, 1, 20))
    expected = power_w(LINEAR, utilization).sum(axis=(1, 2))
    np.testing.assert_allclose(price(occupancy_of(utilization), [LINEAR]), expected, rtol=1e-6)


def test_the_step_of_active_is_exact_between_knots():
    active = PowerModel(modelType="active", idlePower=100, maxPower=200, stepPower=40)
    utilization = np.array([[[0.0, 0.01, 0.6]]])
    expected = power_w(active, utilization).sum()
    assert price(occupancy_of(utilization), [active])[0] == pytest.approx(expected, rel=1e-6)


def test_each_group_has_its_own_curve():
    utilization = np.array([[[0.25, 0.5], [0.75, 1.0]]])
    expected = power_w(LINEAR, utilization[:, 0]).sum() + power_w(MSE, utilization[:, 1]).sum()
    assert price(occupancy_of(utilization, 2), [LINEAR, MSE])[0] == pytest.approx(expected, rel=1e-6)


def test_mean_power_uses_the_mean_occupancy():
    occupancy = occupancy_of(np.array([[[0.25, 0.5]]]))
    assert price(occupancy, [LINEAR], mean=True)[0] == pytest.approx(2 * price(occupancy, [LINEAR])[0])


def test_many_trials_equal_one_by_one():
    occupancy = occupancy_of(np.random.default_rng(2).uniform(0, 1, (9, 1, 5)))
    models = [LINEAR, MSE, PowerModel(modelType="active", idlePower=1, maxPower=9, stepPower=3)]
    together = price_many(occupancy, [[m] for m in models])
    assert together.shape == (9, 3)
    for column, m in enumerate(models):
        np.testing.assert_allclose(together[:, column], price(occupancy, [m]), rtol=1e-6)


def test_a_missing_model_is_refused():
    with pytest.raises(InputError, match="1 power models for 2 host groups"):
        price(occupancy_of(np.zeros((1, 2, 1)), 2), [LINEAR])


def test_models_go_into_the_topology_and_come_back():
    host = {"cpu": {"coreCount": 4, "coreSpeed": 1000}, "memory": {"memorySize": 1000}}
    topology = parse_topology({"clusters": [{"hosts": [host, host]}, {"hosts": [host]}]})
    groups = topology_groups(topology)
    assert groups == ((0, 0), (0, 1), (1, 0))
    changed = with_group_models(topology, groups[1:], [MSE, LINEAR])
    assert group_models(changed, groups)[1:] == (MSE, LINEAR)
    assert group_models(changed, groups)[0] == group_models(topology, groups)[0]
