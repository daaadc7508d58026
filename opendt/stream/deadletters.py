"""Dead letters: sent on to their topic for whoever looks after producers, and tried again after a repair."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from opendt.errors import OpenDTError
from opendt.models.messages import DeadLetter
from opendt.settings import StreamSettings
from opendt.stream import kafka
from opendt.stream.envelope import DATACENTER, REPLAY, BadRecord, Envelope, open_envelope
from opendt.stream.layouts import decoder_of

log = logging.getLogger(__name__)

_FLUSH_S = 15.0
_LEAVE_S = 5.0  # the lake has them as well


class DeadLetterTopic:
    """Sends dead letters on, at least once: the key names the record, so that a reader can tell repetitions.

    Value: the record's first bytes as they were. Headers: ``reason``, ``topic``, ``partition``, ``offset``, ``bytes``
    (length of the whole value), ``datacenter``.
    """

    def __init__(self, settings: StreamSettings, datacenter: str) -> None:
        self._settings, self._datacenter = settings, datacenter
        self._client: Any = None

    def send(self, letters: Iterable[DeadLetter]) -> None:
        """Send them without waiting. A broker that does not take them is logged and does not stop the run."""
        for letter in letters:
            if self._client is None:
                self._client = kafka.producer(self._settings, lambda error: log.warning("dead letter lost: %s", error))
            self._send(letter)
        if self._client is not None:
            self._client.poll(0)

    def _send(self, letter: DeadLetter) -> None:
        where = f"{letter.topic}/{letter.partition}/{letter.offset}"
        headers = {
            "reason": letter.reason,
            "topic": letter.topic,
            "partition": letter.partition,
            "offset": letter.offset,
            "bytes": letter.payload_bytes,
            DATACENTER: self._datacenter,
        }
        try:
            self._client.produce(
                self._settings.topics.deadletter,
                letter.payload,
                where.encode(),
                headers=[(name, str(value).encode()) for name, value in headers.items()],
            )
        except (kafka.QueueFull, kafka.KafkaException) as error:
            log.warning("dead letter %s not sent on: %s", where, error)

    def close(self) -> None:
        """Wait until the broker has them, a few seconds at most."""
        if self._client is not None:
            client, self._client = self._client, None
            left = client.flush(_LEAVE_S)
            if left:
                log.warning("%d dead letters not sent on: the broker did not take them within %g s", left, _LEAVE_S)


@dataclass(frozen=True, slots=True)
class Retry:
    """What became of a dead letter: sent again, or the reason why not."""

    topic: str
    partition: int
    offset: int
    sent: bool
    reason: str


def retry(settings: StreamSettings, datacenter: str, letters: Sequence[tuple[str, int, int, bytes]]) -> list[Retry]:
    """Try to understand records again, and send those that can be to their topic once more.

    Args:
        settings: broker, topics, layout.
        datacenter: goes into the header of records that name none.
        letters: (topic, partition, offset, bytes kept). The record itself is read back from Kafka with its key and
            headers; where it is gone, the bytes kept have to do.

    A record sent again has its replay's id but no sequence number: its own has been passed.
    """
    decode = decoder_of(settings)
    failed: list[OpenDTError] = []
    producer = kafka.producer(settings, failed.append)
    results = []
    for topic, partition, offset, kept in letters:
        key, value, headers = _original(settings, topic, partition, offset) or (None, kept, None)
        reason = ""
        try:
            envelope = _readable(headers)
            decode(topic, key, value, envelope)
            producer.produce(topic, value, key, partition, headers=_headers(envelope, datacenter))
        except BadRecord as error:
            reason = str(error)
        results.append(Retry(topic, partition, offset, not reason, reason))
    producer.flush(_FLUSH_S)
    if failed:
        raise failed[0]
    return results


def _readable(headers: Any) -> Envelope:
    try:
        return open_envelope(headers)
    except BadRecord:
        return Envelope()  # what was wrong with them does not matter for a record sent anew


def _headers(envelope: Envelope, datacenter: str) -> list[tuple[str, bytes]]:
    headers = [(DATACENTER, (envelope.datacenter or datacenter).encode())]
    if envelope.replay is not None:
        headers.append((REPLAY, envelope.replay.encode()))
    return headers + [(n, v) for n, v in (envelope.extra or {}).items() if n not in (REPLAY, DATACENTER, "seq")]


def _original(settings: StreamSettings, topic: str, partition: int, offset: int) -> tuple[Any, Any, Any] | None:
    """Key, value and headers of the record at an offset, None when it is no longer there."""
    client = kafka.consumer(settings, "opendt.dead-letters")
    try:
        if partition >= kafka.partition_count(client, topic, settings):
            return None
        low, high = kafka.watermarks(client, topic, partition, settings)
        if not low <= offset < high:
            return None
        kafka.assign(client, {(topic, partition): offset})
        deadline = time.monotonic() + 5.0
        while time.monotonic() < deadline:
            for message in kafka.poll(client, settings, 0.1, 1):
                same = message.offset() == offset
                return (message.key(), message.value(), message.headers()) if same else None
        return None
    finally:
        kafka.close(client)
