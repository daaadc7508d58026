"""Topics: created once, described, refused when they contradict the configuration, deleted."""

from __future__ import annotations

from concurrent.futures import Future

import pytest
from confluent_kafka import KafkaError

from opendt.errors import BrokerUnavailableError, ConfigError
from opendt.stream import kafka, topics
from opendt.stream.replay import Replay
from opendt.stream.topics import partition_of

pytestmark = pytest.mark.java


def test_creating_twice_creates_once(real):
    assert set(topics.create(real)) == {spec.name for spec in topics.specs(real)}
    assert topics.create(real) == []


def test_topics_are_described_as_configured(real):
    topics.create(real)
    found = {row["topic"]: row for row in topics.describe(real)}
    assert found[real.topics.workload]["partitions"] == 4
    assert found[real.topics.workload]["config"]["retention.ms"] == str(7 * 86_400_000)
    assert found[real.topics.sim_topology]["config"]["cleanup.policy"] == "compact"
    assert all(row["contradictions"] == [] for row in found.values())


@pytest.mark.parametrize(("change", "said"), [
    ({"partitions": 3}, "partitions is 4, configured 3"),
    ({"retention_hours": 1.0}, "retention.ms is 604800000, configured 3600000"),
])  # fmt: skip
def test_a_contradiction_is_refused_and_named(real, trace, change, said):
    topics.create(real)
    other = real.model_copy(update=change)
    for start in (lambda: topics.create(other), Replay(trace, other, "dc", "r1").run):
        with pytest.raises(ConfigError, match=f"{real.topics.workload}: {said}"):
            start()
    assert any(said in problem for row in topics.describe(other) for problem in row["contradictions"])


def test_deleting_removes_what_is_configured_and_nothing_else(real):
    topics.create(real)
    other = real.model_copy(update={"topics": real.topics.model_copy(update={"workload": f"{real.topics.workload}.x"})})
    topics.create(other)
    assert set(topics.delete(real)) == {spec.name for spec in topics.specs(real)}
    rows = {row["topic"]: row for row in topics.list_all(other)}
    assert rows[other.topics.workload]["exists"]
    assert not rows[other.topics.power]["exists"]
    assert topics.delete(real) == []


def test_the_partition_of_a_key_never_changes():
    assert [partition_of(key, 4) for key in (b"dc/1", b"dc/2", b"dc", b"")] == [2, 0, 2, 0]


def test_a_partition_that_stays_without_a_leader_is_a_passing_trouble(embedded, monkeypatch):
    monkeypatch.setattr(kafka, "TIMEOUT_S", 0.2)
    client = kafka.consumer(embedded, "nobody")
    kafka.partition_count(client, embedded.topics.power, embedded)
    with pytest.raises(BrokerUnavailableError, match=r"\[99\] has had no leader"):
        kafka.watermarks(client, embedded.topics.power, 99, embedded)
    client.close()


def test_brokers_that_do_not_take_part_yet_are_a_passing_trouble(real, monkeypatch):
    class Refusing:
        """Answers as a Kafka does whose only broker has just started."""

        def create_topics(self, new, **_):
            refused = Future()
            text = "Unable to replicate the partition 1 time(s): All brokers are currently fenced."
            refused.set_exception(kafka.KafkaException(KafkaError(KafkaError.INVALID_REPLICATION_FACTOR, text)))
            return {topic.topic: refused for topic in new}

        def __getattr__(self, name):
            return getattr(client, name)

    client = kafka.admin(real)
    monkeypatch.setattr(kafka, "admin", lambda settings: Refusing())
    with pytest.raises(BrokerUnavailableError, match="currently fenced"):
        topics.create(real)
