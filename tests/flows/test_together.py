from __future__ import annotations

from types import SimpleNamespace

import pytest

from flows.together import MOST, SLICE_S, span, together
from opendt.errors import StreamGapError


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Windows:
    """Window ``i`` comes ``gaps_s[i]`` after the one before was taken; an exception is raised in its place."""

    def __init__(self, clock: Clock, gaps_s) -> None:
        self.clock, self.gaps_s, self.next = clock, gaps_s, 0
        self._due_s: float | None = None

    def next_within(self, wait_s):
        if self.next == len(self.gaps_s):
            return None
        gap = self.gaps_s[self.next]
        if isinstance(gap, Exception):
            raise gap
        self._due_s = self.clock.now_s + gap if self._due_s is None else self._due_s
        if wait_s is not None and self._due_s > self.clock.now_s + wait_s:
            self.clock.now_s += wait_s
            return None
        self.clock.now_s = max(self.clock.now_s, self._due_s)
        self._due_s = None
        self.next += 1
        return SimpleNamespace(index=self.next - 1)


def groups(gaps_s, work_s: float, limit: int | None = None) -> tuple[list[list[int]], float]:
    """Numbers of the windows of each group, and the time at the end."""
    clock, found = Clock(), []
    try:
        for group in together(Windows(clock, gaps_s), limit, clock=clock):
            found.append([batch.index for batch in group])
            clock.now_s += work_s * len(group)
    except StreamGapError:
        found.append([-1])
    return found, clock.now_s


def test_windows_that_come_fast_share_a_task_run_and_none_is_lost_or_moved():
    found, _ = groups([0.01] * 100, 0.01)
    assert [index for group in found for index in group] == list(range(100))
    assert found[0] == [0], "how long a window takes is not known before the first"
    assert all(2 <= len(group) <= SLICE_S / 0.01 + 1 for group in found[1:-1])
    assert len(found) < 20


@pytest.mark.parametrize("gap_s", [2 * SLICE_S, 3600.0])
def test_at_the_pace_of_a_live_cluster_every_window_is_given_at_once(gap_s):
    found, end_s = groups([gap_s] * 5, 0.01)
    assert found == [[0], [1], [2], [3], [4]]
    assert end_s == pytest.approx(5 * (gap_s + 0.01)), "nothing waited for company"


def test_windows_that_take_long_to_simulate_are_alone_however_fast_they_come():
    assert groups([0.0] * 5, 20.0)[0] == [[0], [1], [2], [3], [4]]


def test_a_window_after_a_rush_waits_a_tenth_of_a_second_at_most():
    found, end_s = groups([0.01] * 30 + [3600.0], 0.001)
    assert found[-1] == [30]
    assert end_s == pytest.approx(0.3 + 0.03 + 3600.001, abs=2 * SLICE_S)


def test_a_group_is_bounded():
    assert max(len(group) for group in groups([0.0] * 200, 0.0)[0]) == MOST


@pytest.mark.parametrize("limit", [0, 1, 7, 40])
def test_a_limit_counts_windows(limit):
    assert sum(len(group) for group in groups([0.001] * 100, 0.001, limit)[0]) == limit


def test_what_came_before_a_broken_record_is_given_before_its_error():
    found, _ = groups([0.001] * 10 + [StreamGapError("records are missing")], 0.001)
    assert found[-1] == [-1]
    assert [index for group in found[:-1] for index in group] == list(range(10))


def test_a_group_is_called_after_its_windows():
    window = [SimpleNamespace(index=i) for i in (3, 4, 5)]
    assert (span(window[:1]), span(window)) == ("window 3", "windows 3 to 5")
