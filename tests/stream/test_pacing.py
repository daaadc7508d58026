"""The clock of a replay: due times, lag, pauses."""

from __future__ import annotations

import pytest

from opendt.stream.pacing import Pacer


class StillClock:
    """A clock that tests move."""

    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now

    def wall_ms(self):
        return 0

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def clock():
    return StillClock()


def test_the_first_record_is_due_at_once_and_the_others_by_speed(clock):
    pacer = Pacer(10.0, clock)
    assert pacer.wait_s(5_000) == 0
    assert pacer.wait_s(25_000) == pytest.approx(2.0)
    clock.sleep(2.0)
    assert pacer.wait_s(25_000) == 0
    assert pacer.max_lag_s == 0


def test_lag_is_how_late_a_record_is(clock):
    pacer = Pacer(1.0, clock)
    pacer.wait_s(0)
    clock.sleep(7.0)
    assert pacer.wait_s(4_000) == 0
    assert pacer.lag_s == pacer.max_lag_s == pytest.approx(3.0)
    assert pacer.wait_s(8_000) == pytest.approx(1.0)


def test_full_speed_never_waits(clock):
    pacer = Pacer(-1, clock)
    assert [pacer.wait_s(t) for t in (0, 10**9)] == [0, 0]


def test_a_pause_holds_back_and_is_no_lag(clock):
    pacer = Pacer(1.0, clock)
    pacer.wait_s(0)
    pacer.pause()
    assert pacer.wait_s(0) > 0
    clock.sleep(60.0)
    pacer.pause()  # twice is once
    pacer.resume()
    assert pacer.wait_s(2_000) == pytest.approx(2.0)
    assert pacer.max_lag_s == 0


def test_a_pause_before_the_first_record_moves_the_start(clock):
    pacer = Pacer(1.0, clock)
    pacer.pause()
    assert pacer.wait_s(0) > 0
    clock.sleep(10)
    pacer.resume()
    assert pacer.wait_s(0) == 0
    assert pacer.wait_s(3_000) == pytest.approx(3.0)
