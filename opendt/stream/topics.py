"""Topics: which there are, how they are set up, which partition a key belongs to, which group reads them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

from opendt.errors import BrokerUnavailableError, ConfigError
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
    """Topics that carry event time."""
    names = settings.topics
    if settings.layout == "opendt-v0":
        return (names.v0_tasks, names.v0_fragments, names.power)
    return (names.workload, names.power)


def clock_topics(settings: StreamSettings, *, foreign: bool) -> tuple[str, ...]:
    """Topics of which every partition must have passed a window's end before it closes.

    A foreign producer of layout opendt-v0 never writes to dc.power, so that nobody waits for it.
    """
    names = data_topics(settings)
    return names[:2] if foreign and settings.layout == "opendt-v0" else names


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
    return _create(_real(settings, "creates topics on first use, with 4 partitions"), settings)


def ensure(settings: StreamSettings) -> None:
    """The same, before a replay or a reader starts; on the embedded broker there is nothing to do."""
    client = kafka.admin(settings)
    if not kafka.is_embedded(kafka.cluster_id(client, settings)):
        _create(client, settings)


def create_empty(settings: StreamSettings, name: str, partitions: int) -> None:
    """Create a topic whose only use is that its partitions are assigned to members of a group.

    Raises:
        ConfigError: it exists with another number of partitions.
    """
    client = kafka.admin(settings)
    if not kafka.is_embedded(kafka.cluster_id(client, settings)) and name not in _existing(client, settings):
        _create_missing(client, settings, [TopicSpec(name, partitions, settings.replication_factor)])
    found = kafka.partition_count(client, name, settings)
    if found != partitions:
        raise ConfigError(
            f"topic {name} has {found} partitions, {partitions} are needed: one per datacenter. Start every twin of "
            "the run with the same list of datacenters, or choose another run id.",
            topic=name,
        )


def active_groups(settings: StreamSettings, prefix: str) -> set[str]:
    """Names of consumer groups that begin so and have members; none on the embedded broker, which cannot tell."""
    client = kafka.admin(settings)
    if kafka.is_embedded(kafka.cluster_id(client, settings)):
        return set()
    with kafka.translated(settings, "listing consumer groups"):
        found = client.list_consumer_groups(request_timeout=kafka.TIMEOUT_S).result(kafka.TIMEOUT_S + kafka.GRACE_S)
    if found.errors:  # of some brokers only; what they know would be missing
        raise kafka.error_of(found.errors[0], settings, "listing consumer groups")
    return {g.group_id for g in found.valid if g.group_id.startswith(prefix) and g.state.name not in ("EMPTY", "DEAD")}


def list_all(settings: StreamSettings) -> list[dict[str, Any]]:
    """Configured topics, and whether and with how many partitions each exists; then the others there are."""
    existing = _existing(kafka.admin(settings), settings)
    configured = [spec.name for spec in specs(settings)]
    others = sorted(name for name in existing if name not in configured and not name.startswith("__"))
    return [
        {
            "topic": name,
            "configured": name in configured,
            "exists": name in existing,
            "partitions": len(existing[name].partitions) if name in existing else None,
        }
        for name in [*configured, *others]
    ]


def describe(settings: StreamSettings) -> list[dict[str, Any]]:
    """Configured topics that exist: partitions, replication, settings, and what contradicts the configuration."""
    client = _real(settings, "has no topic settings to describe")
    existing = _existing(client, settings)
    wanted = [spec for spec in specs(settings) if spec.name in existing]
    found = _actual(client, settings, wanted)
    return [actual | {"contradictions": _contradictions(s, actual)} for s, actual in zip(wanted, found, strict=True)]


def delete(settings: StreamSettings) -> list[str]:
    """Delete the configured topics with all their records; gives the names of those that existed."""
    client = _real(settings, "cannot delete topics; stop it instead")
    existing = _existing(client, settings)
    names = [spec.name for spec in specs(settings) if spec.name in existing]
    if not names:
        return []
    for name, future in client.delete_topics(names, request_timeout=kafka.TIMEOUT_S).items():
        with kafka.translated(settings, f"deleting topic {name}"):
            future.result(kafka.TIMEOUT_S + kafka.GRACE_S)
    _until(lambda: not set(names) & set(_existing(client, settings)))
    return names


def _real(settings: StreamSettings, why: str) -> Any:
    client = kafka.admin(settings)
    if kafka.is_embedded(kafka.cluster_id(client, settings)):
        raise ConfigError(f"the embedded broker {why}. Set KAFKA_BOOTSTRAP_SERVERS to a Kafka of your own.")
    return client


def _create(client: Any, settings: StreamSettings) -> list[str]:
    existing = _existing(client, settings)
    wanted = specs(settings)
    _check(client, settings, [spec for spec in wanted if spec.name in existing])
    return _create_missing(client, settings, [spec for spec in wanted if spec.name not in existing])


def _create_missing(client: Any, settings: StreamSettings, missing: list[TopicSpec]) -> list[str]:
    if not missing:
        return []
    new = [kafka.new_topic(s.name, s.partitions, s.replication_factor, s.config) for s in missing]
    created = []
    for name, future in client.create_topics(new, request_timeout=kafka.TIMEOUT_S).items():
        try:
            future.result(kafka.TIMEOUT_S + kafka.GRACE_S)
            created.append(name)
        except kafka.KafkaException as error:
            if "fenced" in str(error):  # brokers that have just started, or are too busy to say that they live
                raise BrokerUnavailableError(
                    f"Kafka at {settings.bootstrap_servers} cannot create topic {name} yet: {error.args[0].str()}",
                    topic=name,
                ) from None
            if error.args[0].code() != kafka.TOPIC_EXISTS:  # another process may have been faster
                raise kafka.error_of(error, settings, f"creating topic {name}") from None
    _until(lambda: {s.name for s in missing} <= set(_existing(client, settings)))
    return created


def _until(done: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Wait for a change of topics to reach the brokers' metadata."""
    deadline = time.monotonic() + timeout_s
    while not done() and time.monotonic() < deadline:
        time.sleep(0.02)


def _existing(client: Any, settings: StreamSettings) -> dict[str, Any]:
    with kafka.translated(settings, "listing topics"):
        return {n: t for n, t in client.list_topics(timeout=kafka.TIMEOUT_S).topics.items() if t.error is None}


def _check(client: Any, settings: StreamSettings, wanted: list[TopicSpec]) -> None:
    found = _actual(client, settings, wanted)
    problems = [problem for s, actual in zip(wanted, found, strict=True) for problem in _contradictions(s, actual)]
    if problems:
        raise ConfigError(
            f"topics contradict the configuration: {'; '.join(problems)}. "
            "Change the configuration, or delete the topics with `opendt topics delete` and create them again.",
            problems=problems,
        )


def _contradictions(spec: TopicSpec, actual: dict[str, Any]) -> list[str]:
    problems = []
    if actual["partitions"] != spec.partitions:
        problems.append(f"{spec.name}: partitions is {actual['partitions']}, configured {spec.partitions}")
    return problems + [
        f"{spec.name}: {key} is {actual['config'].get(key)}, configured {value}"
        for key, value in spec.config.items()
        if actual["config"].get(key) != value
    ]


def _actual(client: Any, settings: StreamSettings, wanted: list[TopicSpec]) -> list[dict[str, Any]]:
    """Partitions, replication and settings as the broker has them."""
    if not wanted:
        return []
    metadata = _existing(client, settings)
    resources = [kafka.topic_resource(spec.name) for spec in wanted]
    futures = client.describe_configs(resources, request_timeout=kafka.TIMEOUT_S)
    found = []
    for spec, resource in zip(wanted, resources, strict=True):
        with kafka.translated(settings, f"describing topic {spec.name}"):
            entries = futures[resource].result(kafka.TIMEOUT_S + kafka.GRACE_S)
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
