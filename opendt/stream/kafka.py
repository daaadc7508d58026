"""The only module that imports the Kafka client: clients, their errors as ours, and nothing of their secrets.

Settings under ``stream.security`` reach librdkafka as they are; their values never reach a message or a log.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import confluent_kafka as ck
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from opendt.errors import BrokerUnavailableError, ConfigError, OpenDTError, StreamGapError, TerminalError
from opendt.settings import StreamSettings
from opendt.stream.repeats import Repeats

log = logging.getLogger(__name__)
log.addHandler(logging.NullHandler())
log.addFilter(Repeats())

OFFSET_BEGINNING: int = ck.OFFSET_BEGINNING
OFFSET_END: int = ck.OFFSET_END
EMBEDDED_CLUSTER = "mockCluster"  # how librdkafka's mock cluster names itself
TIMEOUT_S = 15.0
GRACE_S = 5.0  # longer than librdkafka's own limit, so that its error comes and not Python's
CLOSE_S = 3.0

_Code = ck.KafkaError
_UNREACHABLE = {
    _Code._ALL_BROKERS_DOWN, _Code._TRANSPORT, _Code._TIMED_OUT, _Code._RESOLVE, _Code._MSG_TIMED_OUT,
    _Code.REQUEST_TIMED_OUT, _Code.LEADER_NOT_AVAILABLE, _Code.NOT_LEADER_FOR_PARTITION, _Code.NETWORK_EXCEPTION,
    _Code.COORDINATOR_LOAD_IN_PROGRESS, _Code.COORDINATOR_NOT_AVAILABLE, _Code.NOT_COORDINATOR,
    _Code._TIMED_OUT_QUEUE, _Code._WAIT_COORD, _Code._DESTROY, _Code.BROKER_NOT_AVAILABLE,
    _Code._DESTROY_BROKER,
}  # fmt: skip
_REFUSED = {
    _Code._AUTHENTICATION, _Code.SASL_AUTHENTICATION_FAILED, _Code.UNSUPPORTED_SASL_MECHANISM, _Code._SSL,
    _Code.TOPIC_AUTHORIZATION_FAILED, _Code.CLUSTER_AUTHORIZATION_FAILED, _Code.GROUP_AUTHORIZATION_FAILED,
    _Code.ILLEGAL_SASL_STATE,
}  # fmt: skip
_SETTLING = {
    _Code.NOT_LEADER_FOR_PARTITION, _Code.LEADER_NOT_AVAILABLE, _Code.UNKNOWN_TOPIC_OR_PART, _Code._UNKNOWN_PARTITION,
}  # fmt: skip
_PASSING = {_Code._PARTITION_EOF, _Code._TRANSPORT, _Code._ALL_BROKERS_DOWN, _Code._RESOLVE, _Code._TIMED_OUT}


def redact(text: str, settings: StreamSettings) -> str:
    """The text with every value of ``stream.security`` that is longer than three characters masked."""
    for name, value in settings.security.items():
        secret = value.get_secret_value()
        if len(secret) > 3 and name not in ("security.protocol", "sasl.mechanism", "sasl.mechanisms"):
            text = text.replace(secret, "***")
    return text


def error_of(error: Any, settings: StreamSettings, doing: str) -> OpenDTError:
    """Our error for librdkafka's: transient when the broker is out of reach, terminal otherwise."""
    detail = error.args[0] if isinstance(error, ck.KafkaException) and error.args else error
    code = detail.code() if isinstance(detail, ck.KafkaError) else None
    text = redact(detail.str() if isinstance(detail, ck.KafkaError) else str(detail), settings)
    where = f"Kafka at {settings.bootstrap_servers}"
    refusal = _refusals.get(settings.bootstrap_servers)
    if refusal is not None and (code in _UNREACHABLE or code in _REFUSED):
        return TerminalError(f"{where} refused us while {doing}: {refusal}. Check stream.security.", doing=doing)
    if code in _UNREACHABLE:
        return BrokerUnavailableError(f"{where} did not answer while {doing}: {text}. Is it running?", doing=doing)
    if code == _Code._AUTO_OFFSET_RESET or code == _Code.OFFSET_OUT_OF_RANGE:
        return StreamGapError(
            f"{where}: records are gone that have not been read yet ({text}). "
            "Raise the topic's retention and replay again with the same replay id.",
            doing=doing,
        )
    if code in _REFUSED:
        return TerminalError(f"{where} refused us while {doing}: {text}. Check stream.security.", doing=doing)
    if code in (_Code._INVALID_ARG, _Code._NOT_IMPLEMENTED) or code is None:
        return ConfigError(f"Kafka client, {doing}: {text}. Check stream.security and stream.bootstrap_servers.")
    return TerminalError(f"{where}, {doing}: {text}", doing=doing)


@contextmanager
def translated(settings: StreamSettings, doing: str) -> Iterator[None]:
    """Turn librdkafka's exceptions into ours."""
    try:
        yield
    except ck.KafkaException as error:
        raise error_of(error, settings, doing) from None


_refusals: dict[str, str] = {}  # why a broker refused us, by address; librdkafka tells that only in a callback


def _note(error: Any, settings: StreamSettings) -> None:
    text = redact(error.str(), settings)
    if error.code() in _REFUSED:
        _refusals[settings.bootstrap_servers] = text
    log.info("%s: %s", settings.bootstrap_servers, text)


def _base(settings: StreamSettings) -> dict[str, Any]:
    if not settings.bootstrap_servers:
        raise ConfigError(
            "no Kafka address: set KAFKA_BOOTSTRAP_SERVERS or stream.bootstrap_servers, or start the embedded broker."
        )
    secrets = {name: value.get_secret_value() for name, value in settings.security.items()}
    _refusals.pop(settings.bootstrap_servers, None)
    return {
        "bootstrap.servers": settings.bootstrap_servers,
        "client.id": "opendt",
        "log.connection.close": False,
        "message.max.bytes": settings.max_message_bytes,
        "error_cb": lambda error: _note(error, settings),
        **secrets,
    }


def producer(settings: StreamSettings, on_error: Callable[[OpenDTError], None]) -> Any:
    """A producer that keeps order and compresses. ``on_error`` hears of records that could not be delivered."""

    def delivered(error: Any, message: Any) -> None:
        if error is not None:
            on_error(error_of(error, settings, f"sending to {message.topic()}"))

    options = _base(settings) | {
        "enable.idempotence": True,
        "compression.type": "zstd",
        "linger.ms": 5,
        "batch.size": 262_144,
        "queue.buffering.max.messages": 200_000,
        "queue.buffering.max.kbytes": 65_536,
        "delivery.report.only.error": True,
        "delivery.timeout.ms": 60_000,
        "on_delivery": delivered,
    }
    with translated(settings, "starting a producer"):
        return ck.Producer(options, logger=log)


def consumer(settings: StreamSettings, group: str) -> Any:
    """A consumer without automatic anything: partitions, offsets and commits are ours."""
    options = _base(settings) | {
        "group.id": group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "allow.auto.create.topics": True,
        "fetch.wait.max.ms": 20,
        "fetch.queue.backoff.ms": 20,
        "fetch.message.max.bytes": 1_048_576,
        "queued.max.messages.kbytes": 32_768,
        "receive.message.max.bytes": max(100_000_000, settings.max_message_bytes * 2),
        "check.crcs": True,
    }
    options.pop("message.max.bytes")
    with translated(settings, "starting a consumer"):
        return ck.Consumer(options, logger=log)


def member(settings: StreamSettings, group: str, session_s: float) -> Any:
    """A consumer that takes part in a group's sticky assignment and reads nothing of the past."""
    options = _base(settings) | {
        "group.id": group,
        "enable.auto.commit": False,
        "auto.offset.reset": "latest",
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": round(session_s * 1000),
        "heartbeat.interval.ms": round(session_s * 1000 / 6),
        "max.poll.interval.ms": max(round(session_s * 1000), 300_000),
        "allow.auto.create.topics": True,
    }
    options.pop("message.max.bytes")
    with translated(settings, "joining a group"):
        return ck.Consumer(options, logger=log)


def serve(client: Any, settings: StreamSettings, timeout_s: float) -> None:
    """Let a group member do what the group asks of it."""
    with translated(settings, "taking part in a group"):
        message = client.poll(timeout_s)
    if message is not None:
        _carries_record(message, settings, None)


def admin(settings: StreamSettings) -> Any:
    """An administrative client. Keep a reference to it until its futures resolve."""
    options = _base(settings)
    options.pop("message.max.bytes")
    with translated(settings, "starting an administrative client"):
        return AdminClient(options, logger=log)


def mock_cluster() -> tuple[Any, str]:
    """librdkafka's own broker within this process, and its address. It lives as long as the object returned."""
    quiet = logging.getLogger(f"{__name__}.mock")
    quiet.propagate = False
    quiet.addHandler(logging.NullHandler())
    cluster = ck.Producer({"test.mock.num.brokers": 1, "client.id": "opendt-embedded"}, logger=quiet)
    brokers = cluster.list_topics(timeout=TIMEOUT_S).brokers.values()
    return cluster, ",".join(f"{broker.host}:{broker.port}" for broker in brokers)


def cluster_id(client: Any, settings: StreamSettings) -> str:
    """Identifier of the cluster.

    Raises:
        BrokerUnavailableError: none answers.
        TerminalError: the broker refuses the credentials.
    """
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            return str(client.list_topics(timeout=1.0).cluster_id)
        except ck.KafkaException as error:
            client.poll(0)  # has librdkafka tell why
            if settings.bootstrap_servers in _refusals or time.monotonic() > deadline:
                raise error_of(error, settings, "asking for the cluster") from None


def is_embedded(cluster: str) -> bool:
    """Whether a cluster is librdkafka's mock cluster, which forgets what is far behind."""
    return cluster.startswith(EMBEDDED_CLUSTER)


def partition_count(client: Any, topic: str, settings: StreamSettings) -> int:
    """Number of partitions of a topic, waiting a moment for one that is being created.

    Raises ``ConfigError`` for a topic that does not exist.
    """
    deadline = time.monotonic() + 5.0
    while True:
        with translated(settings, f"asking for topic {topic}"):
            found = client.list_topics(topic, timeout=TIMEOUT_S).topics[topic]
        if found.error is None and found.partitions:
            return len(found.partitions)
        if time.monotonic() > deadline:
            raise ConfigError(f"topic {topic} does not exist. Create it with `opendt topics create`.", topic=topic)
        time.sleep(0.05)


def _carries_record(message: Any, settings: StreamSettings, on_removed: Callable[[str, int], None] | None) -> bool:
    error = message.error()
    if error is None:
        return True
    if error.code() in _PASSING and not error.fatal():
        return False
    if error.code() == _Code._AUTO_OFFSET_RESET and on_removed is not None:
        on_removed(message.topic(), message.partition())
        return False
    raise error_of(error, settings, f"reading {message.topic() or 'records'}")


def poll(
    client: Any,
    settings: StreamSettings,
    timeout_s: float,
    most: int = 4096,
    on_removed: Callable[[str, int], None] | None = None,
) -> list[Any]:
    """Messages that carry a record, at most ``most``, waiting at most ``timeout_s`` for them [s].

    ``on_removed`` is told of a (topic, partition) whose next record the broker has removed; without it that is a
    ``StreamGapError``.
    """
    with translated(settings, "reading"):
        messages = client.consume(most, timeout_s)
    return [message for message in messages if _carries_record(message, settings, on_removed)]


def assign(client: Any, offsets: Mapping[tuple[str, int], int]) -> None:
    """Read these partitions from these offsets, without a consumer group's rebalancing."""
    client.assign([ck.TopicPartition(topic, partition, offset) for (topic, partition), offset in offsets.items()])


def restart(client: Any, topic: str, partition: int, offset: int, settings: StreamSettings) -> None:
    """Read a partition on from another offset, also one whose reading an error has ended."""
    with translated(settings, f"going on in {topic}"):
        client.incremental_unassign([ck.TopicPartition(topic, partition)])
        client.incremental_assign([ck.TopicPartition(topic, partition, offset)])


def pause(client: Any, wanted: Iterable[tuple[str, int]]) -> None:
    """Fetch nothing more from these partitions until ``resume``."""
    client.pause([ck.TopicPartition(t, p) for t, p in wanted])


def resume(client: Any, wanted: Iterable[tuple[str, int]]) -> None:
    """Fetch from these partitions again, from where reading stopped."""
    client.resume([ck.TopicPartition(t, p) for t, p in wanted])


def commit(client: Any, offsets: Mapping[tuple[str, int], int]) -> None:
    """Tell the group how far reading has come, without waiting. Only a progress signal: a loss does no harm."""
    if offsets:
        try:
            client.commit(offsets=partitions(offsets), asynchronous=True)
        except ck.KafkaException as error:
            log.info("progress not committed: %s", error)


def close(*consumers: Any, timeout_s: float = CLOSE_S) -> None:
    """Close consumers, waiting for all of them together no longer than ``timeout_s`` [s].

    librdkafka's own close waits for the answer to every commit, for ever when the broker is gone. A consumer that is
    not closed in time is left to a thread, which ends when the broker is back or with this process.
    """
    closing = [threading.Thread(target=client.close, name="closing", daemon=True) for client in consumers]
    for thread in closing:
        thread.start()
    deadline = time.monotonic() + timeout_s
    for thread in closing:
        thread.join(max(0.0, deadline - time.monotonic()))
    if any(thread.is_alive() for thread in closing):
        log.warning("the broker did not confirm the last progress within %g s; left without it", timeout_s)


def committed(client: Any, wanted: Iterable[tuple[str, int]], settings: StreamSettings) -> dict[tuple[str, int], int]:
    """Offsets the client's group has committed; 0 where there is none."""
    with translated(settings, "asking for committed offsets"):
        found = client.committed([ck.TopicPartition(t, p) for t, p in wanted], timeout=TIMEOUT_S)
    return {(f.topic, f.partition): max(0, f.offset) for f in found}


def watermarks(client: Any, topic: str, partition: int, settings: StreamSettings) -> tuple[int, int]:
    """First and next offset of a partition, waiting a moment for one that has just been created."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            low, high = client.get_watermark_offsets(ck.TopicPartition(topic, partition), timeout=TIMEOUT_S)
            return int(low), int(high)
        except ck.KafkaException as error:
            if error.args[0].code() not in _SETTLING:
                raise error_of(error, settings, f"asking for the offsets of {topic}") from None
            if time.monotonic() > deadline:
                raise BrokerUnavailableError(
                    f"Kafka at {settings.bootstrap_servers}: {topic}[{partition}] has had no leader for "
                    f"{TIMEOUT_S:g} s. Try again.",
                    topic=topic,
                ) from None
            _refresh(client, topic)
            time.sleep(0.05)


def offset_at(client: Any, topic: str, partition: int, time_ms: int, settings: StreamSettings) -> int | None:
    """Offset of a partition's first record sent at a time or later [epoch ms]; None when there is none."""
    with translated(settings, f"looking up a time in {topic}"):
        (found,) = client.offsets_for_times([ck.TopicPartition(topic, partition, time_ms)], timeout=TIMEOUT_S)
    if found.error is not None:
        raise error_of(ck.KafkaException(found.error), settings, f"looking up a time in {topic}")
    return found.offset if found.offset >= 0 else None


def _refresh(client: Any, topic: str) -> None:
    """Have the client look up a topic's leaders again; one that asked a starting broker would believe it for long."""
    try:
        client.list_topics(topic, timeout=1.0)
    except ck.KafkaException as error:
        log.info("%s not looked up: %s", topic, error)


def partitions(offsets: Mapping[tuple[str, int], int]) -> list[Any]:
    """librdkafka's partition objects for offsets by (topic, partition)."""
    return [ck.TopicPartition(topic, partition, offset) for (topic, partition), offset in offsets.items()]


def new_topic(name: str, count: int, replicas: int, config: Mapping[str, str]) -> Any:
    """A topic to be created."""
    return NewTopic(name, num_partitions=count, replication_factor=replicas, config=dict(config))


def topic_resource(name: str) -> Any:
    """The handle by which a topic's settings are asked for."""
    return ConfigResource(ResourceType.TOPIC, name)


KafkaException = ck.KafkaException
TOPIC_EXISTS = _Code.TOPIC_ALREADY_EXISTS
UNKNOWN_TOPIC = _Code.UNKNOWN_TOPIC_OR_PART
QueueFull = BufferError
