from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from flows import follow as module
from flows.follow import describe, follow
from flows.progress import Progress, listening
from opendt.calibration.drift import DriftEvent
from opendt.errors import BrokerUnavailableError, EngineError, SessionRewoundError, StreamGapError
from opendt.settings import PrefectSettings
from opendt.twin.totals import WindowSummary

SETTINGS = PrefectSettings(retries=2, retry_delay_s=0)


def summary(index: int) -> WindowSummary:
    return WindowSummary(
        index=index, start_ms=0, end_ms=1, tasks_arrived=1, tasks_running=2, tasks_waiting=0, energy_kwh=1.5,
        mape_pct=2.25, persistence_mape_pct=None, late_records=0, dead_letters=0, wall_ms=1.0, last=False,
    )  # fmt: skip


class Session:
    """Counts what it is given, as the real one would commit it."""

    def __init__(self) -> None:
        self.identity = SimpleNamespace(run_id="run-1")
        self.seen: list[int] = []
        self.position = None
        self.settings = SimpleNamespace(datacenter="north")
        self.drifts: list[DriftEvent] = []

    @property
    def next_index(self) -> int:
        return len(self.seen)

    def process(self, batch):
        assert batch.index == self.next_index
        self.seen.append(batch.index)
        if batch.index == 1:
            self.drifts.append(DriftEvent(since_ms=0, found_ms=3_600_000, size_pct=5.0))
        return summary(batch.index)


class Stream:
    """Gives what a script says; an exception in it is raised."""

    def __init__(self, script) -> None:
        self.script, self.closed, self._stopped = list(script), False, threading.Event()

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.closed = True

    def stop(self) -> None:
        self._stopped.set()

    def next_within(self, wait_s):
        if not self.script:
            return None
        if self.script[0] == "silence":
            assert self._stopped.wait(20 if wait_s is None else wait_s) or wait_s, "nobody stopped a silent stream"
            return None
        item = self.script.pop(0)
        if isinstance(item, Exception):
            raise item
        return SimpleNamespace(index=item)


class Streams:
    """One script per opening."""

    def __init__(self, *scripts) -> None:
        self.scripts, self.opened, self.streams = list(scripts), [], []

    def __call__(self, position, index):
        self.opened.append(index)
        self.streams.append(Stream(self.scripts.pop(0)))
        return self.streams[-1]


def progress() -> Progress:
    return Progress(3, "windows")


def test_windows_are_processed_in_order_until_the_stream_ends():
    session, streams = Session(), Streams([0, 1, 2])
    assert [w.index for w in follow(session, streams, progress(), SETTINGS)] == [0, 1, 2]
    assert streams.streams[0].closed


def test_after_a_transient_error_reading_goes_on_at_the_first_uncommitted_window():
    session, streams = Session(), Streams([0, 1, BrokerUnavailableError("gone")], [2])
    follow(session, streams, progress(), SETTINGS)
    assert (streams.opened, session.seen) == ([0, 2], [0, 1, 2])


def test_progress_in_between_renews_the_attempts():
    gone = BrokerUnavailableError("gone")
    streams = Streams([0, gone], [1, gone], [2, gone], [3, gone], [])
    session = Session()
    follow(session, streams, progress(), SETTINGS)
    assert session.seen == [0, 1, 2, 3]


def test_without_progress_the_transient_error_is_raised_in_the_end():
    streams = Streams(*[[BrokerUnavailableError("gone")]] * 3)
    with pytest.raises(BrokerUnavailableError):
        follow(Session(), streams, progress(), SETTINGS)
    assert len(streams.opened) == 3


def test_a_terminal_error_is_raised_at_once():
    streams = Streams([0, StreamGapError("records are missing")])
    with pytest.raises(StreamGapError):
        follow(Session(), streams, progress(), SETTINGS)
    assert streams.opened == [0]


def test_a_limit_stops_in_time():
    assert len(follow(Session(), Streams([0, 1, 2]), progress(), SETTINGS, max_windows=2)) == 2


def test_a_sender_that_failed_ends_the_wait_with_its_own_error(monkeypatch):
    monkeypatch.setattr(module, "WATCH_EVERY_S", 0.01)

    class Sender:
        def poll(self):
            raise EngineError("the sender died")

    with pytest.raises(EngineError, match="the sender died"):
        follow(Session(), Streams([0, "silence"]), progress(), SETTINGS, sender=Sender())


def test_a_listener_hears_about_every_window():
    heard = []
    with listening(heard.append):
        follow(Session(), Streams([0, 1]), progress(), SETTINGS)
    assert [(step.done, step.total) for step in heard] == [(1, 3), (2, 3)]
    assert heard[0].text == describe(summary(0)) == "window 0: 2 tasks running, 1.5 kWh, error 2.2 %"


def test_a_drift_is_told_once_with_size_and_beginning(caplog):
    with caplog.at_level("INFO", logger="opendt.flows"):
        follow(Session(), Streams([0, 1, 2, 3]), progress(), SETTINGS)
    (told,) = [record.getMessage() for record in caplog.records if "changed" in record.getMessage()]
    assert told == "The cluster north changed: its power is +5.0 % off what it was, since 1970-01-01T00:00:00Z."


def test_when_told_to_halt_the_window_in_hand_is_the_last(monkeypatch):
    monkeypatch.setattr(module, "WATCH_EVERY_S", 0.01)
    session, halt = Session(), threading.Event()
    streams = Streams([0, 1, "silence"])
    threading.Timer(0.05, halt.set).start()
    assert [w.index for w in follow(session, streams, progress(), SETTINGS, halt=halt)] == [0, 1]
    assert streams.streams[0].closed
    assert follow(session, streams, progress(), SETTINGS, halt=halt) == []


def test_a_halt_cuts_the_wait_before_the_next_attempt_short():
    patient, halt = PrefectSettings(retries=2, retry_delay_s=50), threading.Event()
    threading.Timer(0.05, halt.set).start()
    streams = Streams([0, BrokerUnavailableError("gone")])
    assert len(follow(Session(), streams, progress(), patient, halt=halt)) == 1


def test_windows_of_a_group_before_a_failed_one_count_and_are_not_repeated(monkeypatch):
    monkeypatch.setattr(module, "together", lambda stream, limit: iter([[stream.next_within(None) for _ in range(3)]]))

    class Fragile(Session):
        broken = True

        def process(self, batch):
            if batch.index == 1 and self.broken:
                self.broken = False
                raise SessionRewoundError("the lake was busy")
            return super().process(batch)

    session, streams, heard = Fragile(), Streams([0, 1, 2], [1, 2, 3]), []
    with listening(heard.append):
        found = follow(session, streams, progress(), SETTINGS)
    assert [w.index for w in found] == session.seen == [0, 1, 2, 3]
    assert (streams.opened, [step.done for step in heard]) == ([0, 1], [1, 2, 3, 4])


def test_a_window_that_is_retried_in_place_is_not_given_twice(monkeypatch):
    monkeypatch.setattr(module, "together", lambda stream, limit: iter([[stream.next_within(None) for _ in range(2)]]))

    class Fragile(Session):
        failures = 1

        def process(self, batch):
            if batch.index == 1 and self.failures:
                self.failures -= 1
                raise BrokerUnavailableError("gone for a moment")
            return super().process(batch)

    session = Fragile()
    assert [w.index for w in follow(session, Streams([0, 1]), progress(), SETTINGS)] == session.seen == [0, 1]
