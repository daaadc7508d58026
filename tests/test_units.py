"""Conversions, by hand."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from opendt import units


def test_one_kilowatt_hour_is_3_6_megajoules():
    assert units.joules_to_kwh(3.6e6) == 1.0
    assert units.kwh_to_joules(2.0) == 7.2e6


def test_625_w_for_30_s_at_100_g_per_kwh_emit_0_520833_g():
    assert units.carbon_g(625.0 * 30, 100.0) == pytest.approx(0.520833, abs=1e-6)


@pytest.mark.parametrize(("raw", "mib"), [(0, 0), (499, 0), (500, 1), (1499, 1), (1500, 2), (2499, 2), (2500, 3)])
def test_task_memory_rounds_half_up(raw, mib):
    assert units.mem_capacity_to_mib(raw) == mib


def test_task_memory_of_an_array_equals_its_scalars():
    raw = np.array([499, 500, 2500])
    assert units.mem_capacity_to_mib(raw).tolist() == [int(units.mem_capacity_to_mib(r)) for r in raw]


@pytest.mark.parametrize(
    "text",
    ["2022-10-06T22:00:00Z", "2022-10-06T22:00:00", "2022-10-07T00:00:00+02:00", "1665093600000", 1665093600000],
)
def test_times_in_every_form_are_the_same_instant(text):
    assert units.parse_time_ms(text) == 1665093600000


def test_text_and_datetime_of_an_instant():
    assert units.iso(1665093600000) == "2022-10-06T22:00:00Z"
    assert units.ms_to_datetime(1665093600000) == datetime(2022, 10, 6, 22, tzinfo=UTC)
    assert units.datetime_to_ms(datetime(2022, 10, 6, 22)) == 1665093600000
