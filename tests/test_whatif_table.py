"""How ``opendt whatif`` shows a variant beside the present topology."""

from __future__ import annotations

import pytest

from opendt.cli.optimize import _beside


@pytest.mark.parametrize(
    ("present", "value", "shown"),
    [
        (100.0, 90.0, "90 (-10.0 %)"), (100.0, 100.0, "100"), (2.0, 20.0, "20 (+900.0 %)"),
        (0.025, 37.43, "37.43 (+37.41)"), (1.0, 11.0, "11 (+10)"),
    ],
)  # fmt: skip
def test_a_share_of_next_to_nothing_is_shown_as_a_difference(present, value, shown):
    change = 100 * (value / present - 1)
    variant = {"state": "simulated", "m": value, "delta_pct": {"m": change}}
    assert _beside(variant, {"m": present}, "m") == shown


def test_nothing_is_compared_with_nothing_and_failed_variants_show_no_number():
    assert _beside({"state": "simulated", "m": 3.0, "delta_pct": {"m": None}}, {"m": 0.0}, "m") == "3"
    assert _beside({"state": "failed"}, {"m": 0.0}, "m") == "-"
