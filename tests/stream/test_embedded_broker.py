"""Where the embedded broker differs: it forgets, so that nobody may get too far ahead."""

from __future__ import annotations

import random
import socket

import pytest

from opendt.errors import ConfigError, StreamGapError
from opendt.settings import StreamSettings, WindowSettings
from opendt.stream import kafka, topics
from opendt.stream.broker import broker, embedded_broker
from opendt.stream.source import open_windows


def fragments_read(settings, replay_id="r1"):
    with open_windows(settings, WindowSettings(), "dc", replay_id) as stream:
        return sum(len(batch.workload.fragments) for batch in stream)


def flood(settings, megabytes, topic):
    """Fill every partition of a topic with bytes nobody will read."""
    producer = kafka.producer(settings, lambda error: pytest.fail(str(error)))
    for number in range(megabytes * 10):
        producer.produce(topic, random.Random(number).randbytes(100_000), partition=number % 4)
        producer.poll(0)
    assert producer.flush(30) == 0


@pytest.mark.slow
def test_more_than_a_hundred_megabytes_pass_without_loss(make, send):
    """At full speed, 5 MiB per partition kept by the broker."""
    trace = make(seed=9, tasks=3000, hours=48.0, most_fragments=4000)
    with embedded_broker() as address:
        settings = StreamSettings(bootstrap_servers=address)
        sender = send(trace, settings)
        assert fragments_read(settings) == len(trace.workload.fragments)
        assert sender.join().payload_bytes > 100_000_000


def test_what_other_replays_left_behind_does_not_disturb(embedded, trace, send):
    flood(embedded, 30, embedded.topics.workload)
    sender = send(trace, embedded)
    assert fragments_read(embedded) == len(trace.workload.fragments)
    assert sender.join().state == "completed"


def test_records_forgotten_since_the_last_window_stop_the_reader(embedded, trace, send):
    send(trace, embedded).join()
    with open_windows(embedded, WindowSettings(), "dc", "r1") as stream:
        position = next(stream).position
    flood(embedded, 30, embedded.topics.workload)
    quick = embedded.model_copy(update={"poll_timeout_s": 0.5})
    again = open_windows(quick, WindowSettings(), "dc", "r1", position, 1)
    with again as stream, pytest.raises(StreamGapError, match="removed before they were read"):
        list(stream)


def test_topics_cannot_be_managed_and_need_not_be(embedded):
    for refused in (topics.create, topics.describe, topics.delete):
        with pytest.raises(ConfigError, match="embedded broker"):
            refused(embedded)
    topics.ensure(embedded)


def test_it_dies_with_the_block():
    with embedded_broker() as address:
        settings = StreamSettings(bootstrap_servers=address)
        assert kafka.is_embedded(kafka.cluster_id(kafka.admin(settings), settings))
    host, port = address.split(":")
    with pytest.raises(OSError):
        socket.create_connection((host, int(port)), 1)


def test_a_configured_address_needs_no_embedded_broker():
    settings = StreamSettings(bootstrap_servers="somewhere:9092")
    with broker(settings) as found:
        assert found is settings
