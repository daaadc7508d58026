"""Publishing through a real (embedded) broker: what a twin reads is the topology that was approved."""

import pytest
from optimize_builders import topology

from opendt.errors import BrokerUnavailableError
from opendt.optimize.publish import publish_topology
from opendt.settings import StreamSettings
from opendt.stream import codec, kafka
from opendt.stream.broker import embedded_broker


def _read_one(settings):
    client = kafka.consumer(settings, "test")
    topic = settings.topics.sim_topology
    kafka.assign(client, {(topic, p): 0 for p in range(kafka.partition_count(client, topic, settings))})
    for _ in range(100):
        messages = kafka.poll(client, settings, 0.1)
        if messages:
            client.close()
            return messages
    raise AssertionError("nothing arrived")


def test_a_published_topology_arrives_under_the_datacenters_key():
    with embedded_broker() as address:
        settings = StreamSettings(bootstrap_servers=address)
        publish_topology(settings, "dc7", topology(8), "proposal")
        (message,) = _read_one(settings)
    assert message.key() == b"dc7"
    change = codec.decode(message.value())
    assert (change.topology, change.source, change.time_ms) == (topology(8), "proposal", None)


def test_without_a_broker_the_error_says_what_to_set():
    with pytest.raises(BrokerUnavailableError, match="KAFKA_BOOTSTRAP_SERVERS"):
        publish_topology(StreamSettings(), "dc", topology(8), "proposal")
