"""Windows wait for the topologies that were sent before their time was over, however the partitions are read."""

from __future__ import annotations

import threading
import time

import pytest

from opendt.errors import BrokerUnavailableError
from opendt.settings import WindowSettings
from opendt.stream import catchup, kafka
from opendt.stream.replay import Replay
from opendt.stream.source import open_windows


@pytest.fixture
def withhold(monkeypatch):
    """Hold the messages of a topic back until the event given is set, as if its leader were not known yet."""

    def start(topic, until):
        poll, held = kafka.poll, []

        def some(*arguments, **more):
            messages = poll(*arguments, **more)
            held.extend(message for message in messages if message.topic() == topic)
            others = [message for message in messages if message.topic() != topic]
            if until.is_set():
                others, held[:] = held + others, []
            return others

        monkeypatch.setattr(kafka, "poll", some)

    return start


def test_no_window_is_handed_out_before_the_topology_sent_first_was_read(settings, trace, monkeypatch, withhold):
    monkeypatch.setattr(catchup, "PATIENCE_S", 60.0)
    Replay(trace, settings, "dc", "r1", start_sequences={}).run()
    known, over, batches = threading.Event(), threading.Event(), []
    withhold(settings.topics.topology, known)
    with open_windows(settings, WindowSettings(), "dc", "r1") as stream:

        def read():
            batches.extend(stream)
            over.set()

        threading.Thread(target=read, daemon=True).start()
        assert not over.wait(1.5)
        assert batches == []
        known.set()
        assert over.wait(60)
    announced = [batch.index for batch in batches if batch.topology is not None]
    assert (announced, len(batches) > 3) == ([0], True)


def test_an_end_that_no_record_leads_up_to_is_not_waited_for_forever(embedded, trace, monkeypatch, withhold):
    monkeypatch.setattr(catchup, "PATIENCE_S", 0.2)
    Replay(trace, embedded, "dc", "r1", start_sequences={}).run()
    withhold(embedded.topics.topology, threading.Event())
    with open_windows(embedded, WindowSettings(), "dc", "r1") as stream:
        assert sum(len(batch.workload.tasks) for batch in stream) == len(trace.workload.tasks)


def test_while_the_broker_is_away_windows_wait(embedded, trace, monkeypatch):
    Replay(trace, embedded, "dc", "r1", start_sequences={}).run()
    watermarks, away = kafka.watermarks, [3]
    with open_windows(embedded, WindowSettings(), "dc", "r1") as stream:

        def sometimes(*arguments):
            away[0] -= 1
            if away[0] >= 0:
                raise BrokerUnavailableError("gone for a moment")
            return watermarks(*arguments)

        monkeypatch.setattr(kafka, "watermarks", sometimes)
        batches = list(stream)
    assert away[0] < 0
    assert sum(len(batch.workload.tasks) for batch in batches) == len(trace.workload.tasks)
    assert [batch.index for batch in batches if batch.topology is not None] == [0]


def test_no_window_waits_for_a_fetch_that_waits_for_records(embedded, trace, monkeypatch):
    client, fetch_s = kafka.ck.Consumer, 3.0

    def patient(options, **more):
        return client(options | {"fetch.wait.max.ms": round(fetch_s * 1000)}, **more)

    Replay(trace, embedded, "dc", "r1", start_sequences={}).run()
    monkeypatch.setattr(kafka.ck, "Consumer", patient)
    with open_windows(embedded, WindowSettings(), "dc", "r1") as stream:
        began_s = time.monotonic()
        count = len(list(stream))
        took_s = time.monotonic() - began_s
    assert count > 4
    assert took_s < 2 * fetch_s, "on the reader's connection every second window would wait for one"
