"""Topics: which there are, how they are set up, which partition a key belongs to, which group reads them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

from opendt.errors import ConfigError
from opendt.settings import StreamSettings
from opendt.stream import kafka

MS_PER_HOUR = 3_600_000


def partition_of(key: bytes, partitions: int) -> int:
    """Partition of a key: CRC-32 modulo the number of partitions, the same in every process and client."""
    return crc32(key) % partitions


def group_id(datacenter: str, replay_id: str | None) -> str:
    """Consumer group whose committed offsets tell a replay how far its reader has come."""
    return f"opendt.{datacenter}.{replay_id or 'live'}"


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as configured."""

    name: str
    partitions: int
    replication_factor: int
    config: dict[str, str] = field(default_factory=dict)


def data_topics(settings: StreamSettings) -> tuple[str, ...]:
    """Topics whose partitions carry event time: a window closes when all of them have passed its end."""
    names = settings.topics
    if settings.layout == "opendt-v0":
        return (names.v0_tasks, names.v0_fragments, names.power)
    return (names.workload, names.power)


def specs(settings: StreamSettings) -> tuple[TopicSpec, ...]:
    """Every topic the configuration asks for."""
    names, replicas = settings.topics, settings.replication_factor
    retained = {
        "cleanup.policy": "delete",
        "retention.ms": str(round(settings.retention_hours * MS_PER_HOUR)),
        "max.message.bytes": str(settings.max_message_bytes),
    }
    compacted = {"cleanup.policy": "compact", "min.compaction.lag.ms": "0"}
    one = [(names.results, retained), (names.deadletter, retained)]
    one += [(names.topology, compacted), (names.sim_topology, compacted)]
    return (
        *(TopicSpec(name, settings.partitions, replicas, retained) for name in data_topics(settings)),
        *(TopicSpec(name, 1, replicas, config) for name, config in one),
    )


def create(settings: StreamSettings) -> list[str]:
    """Create the topics that are missing and check those that exist; gives the names created.

    Raises:
        ConfigError: a topic exists with settings that contradict the configuration, or the broker is the embedded
            one, which creates topics on first use and cannot be configured.
    """
    client = kafka.admin(settings)
    if kafka.is_embedded(kafka.cluster_id(client, settings)):
        raise ConfigError("the embedded broker creates topics on first use, with 4 partitions. Nothing to do.")
    return _create(client, settings)


def ensure(settings: StreamSettings) -> None:
    """The same, before a replay or a reader starts; on the embedded broker there is nothing to do."""
    client = kafka.admin(settings)
    if not kafka.is_embedded(kafka.cluster_id(client, settings)):
        _create(client, settings)


def _create(client: Any, settings: StreamSettings) -> list[str]:
    existing = set(_existing(client, settings))
    wanted = specs(settings)
    check(client, settings, [spec for spec in wanted if spec.name in existing])
    missing = [spec for spec in wanted if spec.name not in existing]
    if not missing:
        return []
    new = [kafka.new_topic(s.name, s.partitions, s.replication_factor, s.config) for s in missing]
    created = []
    for name, future in client.create_topics(new, request_timeout=kafka.TIMEOUT_S).items():
        try:
            future.result(kafka.TIMEOUT_S)
            created.append(name)
        except kafka.KafkaException as error:
            if error.args[0].code() != kafka.TOPIC_EXISTS:  # another process may have been faster
                raise kafka.error_of(error, settings, f"creating topic {name}") from None
    return created


def _existing(client: Any, settings: StreamSettings) -> dict[str, Any]:
    with kafka.translated(settings, "listing topics"):
        return dict(client.list_topics(timeout=kafka.TIMEOUT_S).topics)


def check(client: Any, settings: StreamSettings, wanted: Iterable[TopicSpec]) -> None:
    """Raise ``ConfigError`` naming every setting of an existing topic that contradicts the configuration."""
    problems = []
    for spec, actual in zip(wanted := list(wanted), _describe(client, settings, wanted), strict=True):
        if actual["partitions"] != spec.partitions:
            problems.append(f"{spec.name}: partitions is {actual['partitions']}, configured {spec.partitions}")
        problems += [
            f"{spec.name}: {key} is {actual['config'].get(key)}, configured {value}"
            for key, value in spec.config.items()
            if actual["config"].get(key) != value
        ]
    if problems:
        raise ConfigError(
            f"topics contradict the configuration: {'; '.join(problems)}. "
            "Change the configuration, or delete the topics with `opendt topics delete` and create them again.",
            problems=problems,
        )


def _describe(client: Any, settings: StreamSettings, wanted: Iterable[TopicSpec]) -> list[dict[str, Any]]:
    wanted = list(wanted)
    if not wanted:
        return []
    metadata = _existing(client, settings)
    resources = [kafka.topic_resource(spec.name) for spec in wanted]
    futures = client.describe_configs(resources, request_timeout=kafka.TIMEOUT_S)
    found = []
    for spec, resource in zip(wanted, resources, strict=True):
        with kafka.translated(settings, f"describing topic {spec.name}"):
            entries = futures[resource].result(kafka.TIMEOUT_S)
        partitions = metadata[spec.name].partitions
        found.append(
            {
                "topic": spec.name,
                "partitions": len(partitions),
                "replication_factor": len(next(iter(partitions.values())).replicas) if partitions else 0,
                "config": {key: entries[key].value for key in spec.config if key in entries},
            }
        )
    return found
