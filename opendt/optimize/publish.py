"""Sending a topology to the twin: one message on ``sim.topology``, under the one key every writer uses."""

from __future__ import annotations

from opendt.errors import BrokerUnavailableError, OpenDTError
from opendt.models.topology import Topology
from opendt.settings import StreamSettings

FLUSH_S = 15.0


def publish_topology(settings: StreamSettings, datacenter: str, topology: Topology, source: str) -> None:
    """Announce a topology; the twin uses it from the next window on.

    Raises ``TransientError`` when no broker takes it, ``ConfigError`` when the topic contradicts the settings.
    """
    from opendt.stream import codec, kafka, topics  # deciding without a broker needs no Kafka client
    from opendt.stream.envelope import DATACENTER

    if not settings.bootstrap_servers:
        raise BrokerUnavailableError(
            "there is no broker to publish the topology to: stream.bootstrap_servers is empty. "
            "Set KAFKA_BOOTSTRAP_SERVERS, then run `opendt topology publish`."
        )
    topics.ensure(settings)
    failed: list[OpenDTError] = []
    producer = kafka.producer(settings, failed.append)
    with kafka.translated(settings, "publishing a topology"):
        producer.produce(
            settings.topics.sim_topology,
            key=datacenter.encode(),
            value=codec.encode_topology(None, topology, source),
            headers=[(DATACENTER, datacenter.encode())],
        )
        left = producer.flush(FLUSH_S)
    if failed:
        raise failed[0]
    if left:
        raise BrokerUnavailableError(f"no broker took the topology within {FLUSH_S:g} s. Try again later.")
