"""A replay in a process of its own: same records, errors and stops as in this one."""

from __future__ import annotations

import os
import threading
import time

import pytest

from opendt.errors import BrokerUnavailableError, TraceError, TransientError
from opendt.settings import WindowSettings
from opendt.stream.broker import embedded_broker
from opendt.stream.replay import Replay
from opendt.stream.replay_process import ReplayProcess
from opendt.stream.source import open_windows
from opendt.stream.topics import data_topics
from opendt.traces.writer import write_power, write_topology, write_workload


def write(folder, trace):
    folder.mkdir()
    write_workload(folder, trace.workload)
    write_power(folder, trace.power, 30_000, int(trace.workload.tasks.submission_ms.min()))
    write_topology(folder, trace.topology)
    return folder


@pytest.fixture
def folder(tmp_path, trace):
    return write(tmp_path / "trace", trace)


def test_windows_come_while_another_process_sends(folder, trace, embedded):
    seen = []
    with (
        ReplayProcess(folder, embedded, "dc", "r1", on_progress=seen.append) as replay,
        open_windows(embedded, WindowSettings(), "dc", "r1") as stream,
    ):
        fragments = sum(len(batch.workload.fragments) for batch in stream)
        report = replay.wait(20)
    assert fragments == len(trace.workload.fragments)
    assert report.state == "completed"
    assert seen[0].total > 0


def test_its_error_is_raised_here(tmp_path, embedded):
    with (
        ReplayProcess(tmp_path / "nowhere", embedded, "dc", "r1") as replay,
        pytest.raises(TraceError, match="nowhere"),
    ):
        replay.wait(20)


def test_leaving_the_block_stops_it_cleanly(folder, embedded):
    slow = embedded.model_copy(update={"speed": 1.0})
    with ReplayProcess(folder, slow, "dc", "r1") as replay:
        pid = replay.pid
    assert replay.wait(1).state == "stopped"
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_sigterm_is_left_to_the_parent_which_has_it_flush_and_report(folder, embedded):
    paced = embedded.model_copy(update={"speed": 600.0})
    sent = []
    with ReplayProcess(
        folder, paced, "dc", "r1", on_progress=lambda progress: sent.append(progress.messages)
    ) as replay:
        wait_for(lambda: sent)
        os.kill(replay.pid, 15)
        heard = len(sent)
        wait_for(lambda: len(sent) > heard + 2 and sent[-1] > sent[heard])
        assert replay.poll() is None
        replay.stop()
        assert replay.wait(20).state == "stopped"


def wait_for(happened, timeout_s=20):
    deadline = time.monotonic() + timeout_s
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_without_a_reader_the_embedded_broker_is_not_flooded(make, tmp_path, embedded):
    big = make(seed=5, tasks=400, hours=2.0, most_fragments=1200)
    write(tmp_path / "big", big)
    impatient = embedded.model_copy(update={"embedded_ahead_bytes": 100_000, "poll_timeout_s": 0.3})
    with (
        ReplayProcess(tmp_path / "big", impatient, "dc", "r1") as replay,
        pytest.raises(BrokerUnavailableError, match="nobody has read"),
    ):
        replay.wait(20)


def test_a_replay_whose_broker_and_reader_are_gone_ends_by_itself(folder, embedded):
    heard = threading.Event()
    with embedded_broker() as address:
        settings = embedded.model_copy(update={"bootstrap_servers": address, "speed": 3600.0})
        replay = ReplayProcess(folder, settings, "dc", "r1", on_progress=lambda progress: heard.set())
        replay.start()
        assert heard.wait(30), "nothing was sent"
    replay.close()  # as when whoever asked for it is killed: its input ends
    with pytest.raises(TransientError, match=r"exit code 1\)|did not answer"):  # not killed after waiting in vain
        replay.wait(5)


class PatientClock:
    """A clock on which only sleeping takes time."""

    def __init__(self):
        self.slept = 0.0

    def monotonic(self):
        return self.slept

    def wall_ms(self):
        return 0

    def sleep(self, seconds):
        self.slept += seconds


def test_what_was_sent_before_a_restart_is_not_waited_for_again(trace, embedded):
    clock = PatientClock()
    everything = {(topic, p): 10**9 for topic in data_topics(embedded) for p in range(4)}
    everything[embedded.topics.topology, 0] = 10**9
    at_pace = embedded.model_copy(update={"speed": 1.0})
    report = Replay(trace, at_pace, "dc", "r1", start_sequences=everything, clock=clock).run()
    assert (report.skipped > 0, clock.slept) == (True, 0.0)
