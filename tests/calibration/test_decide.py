"""A new model replaces the active one only when it is better beyond chance."""

import numpy as np
import pytest

from opendt.calibration.decide import compare_models
from opendt.errors import InputError

TIMES = np.arange(24 * 120, dtype=np.int64) * 30_000
REAL = np.full(len(TIMES), 1_000.0)


def hourly_noise(seed: int, scale: float) -> np.ndarray:
    return np.repeat(np.random.default_rng(seed).normal(0, scale, 24), 120)


def test_a_clear_gain_is_published():
    found = compare_models(TIMES, REAL * 1.01, REAL * 1.05, REAL)
    assert found.publish
    assert found.gain_pct == pytest.approx(4)
    assert "1.00 % instead of 5.00 %" in found.reason


def test_a_worse_model_is_not_published():
    found = compare_models(TIMES, REAL * 1.05, REAL * 1.01, REAL)
    assert not found.publish
    assert "not better" in found.reason


def test_the_same_model_again_is_not_published():
    assert not compare_models(TIMES, REAL * 1.01, REAL * 1.01, REAL).publish


def test_a_gain_that_may_be_chance_is_not_published():
    refused = 0
    for seed in range(200):
        new, active = (REAL * (1 + 0.02 + hourly_noise(s, 0.01)) for s in (seed, seed + 1_000))
        refused += not compare_models(TIMES, new, active, REAL).publish
    assert refused >= 180


def test_a_gain_too_small_to_matter_is_not_published():
    assert not compare_models(TIMES, REAL * 1.0100, REAL * 1.0103, REAL).publish


def test_two_hours_are_too_few_to_decide():
    found = compare_models(TIMES[:240], REAL[:240] * 1.01, REAL[:240] * 1.5, REAL[:240])
    assert not found.publish
    assert "only 2 held-out hours" in found.reason


def test_without_measurements_there_is_nothing_to_decide():
    with pytest.raises(InputError, match="nothing to decide on"):
        compare_models(TIMES, REAL, REAL, np.full(len(TIMES), np.nan))
