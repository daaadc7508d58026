"""From Kafka messages to what the windows take: envelope, sequence check, decoding."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from opendt.models.messages import EndOfStream, Heartbeat, Partition, Record
from opendt.settings import StreamSettings
from opendt.stream.envelope import DATACENTER, REPLAY, SEQUENCE, BadRecord, Envelope, open_envelope
from opendt.windows.sequences import NOTHING, check_end
from opendt.windows.windower import Incoming, Windower

Decoder = Callable[[str, Any, bytes | None, Envelope], tuple[Record, ...]]


class Reader:
    """Feeds messages to a windower: every message ends there as record, duplicate, dead letter or ignored.

    Args:
        windower: where they go.
        decode: the layout's decoder: (topic, key, value, envelope) to records, raises ``BadRecord``.
        settings: largest message accepted.
        datacenter: records of other datacenters are ignored; records that name none are taken.
        replay_id: records of other replays, and of none, are ignored; None takes all.
        watched: topics that such other records are allowed in all the same (topologies from API and calibration).
    """

    def __init__(
        self,
        windower: Windower,
        decode: Decoder,
        settings: StreamSettings,
        datacenter: str,
        replay_id: str | None,
        watched: frozenset[str],
    ) -> None:
        self._windower, self._decode, self._watched = windower, decode, watched
        self._datacenter, self._replay = datacenter, replay_id
        self._most = settings.max_message_bytes
        self._partitions: dict[str, dict[int, Partition]] = {}
        self._usual_replay = None if replay_id is None else (REPLAY, replay_id.encode())
        self._usual_datacenter = (DATACENTER, datacenter.encode())

    def take(self, messages: Iterable[Any]) -> int:
        """Messages in the order read; gives the bytes of their values.

        Raises:
            StreamGapError: records are missing before one of them.
        """
        total, ledger, offset = 0, self._windower.ledger, 0
        last: dict[Partition, int] = {}
        for message in messages:
            value: bytes | None = message.value()
            partition = self._partition(message.topic(), message.partition())
            offset = last[partition] = message.offset()
            total += len(value) if value else 0
            self._take(message, partition, offset, value)
        for partition, offset in last.items():
            ledger.read(partition, offset)
        return total

    def _partition(self, topic: str, number: int) -> Partition:
        """The (topic, partition) tuple, always the same object: making one per message would cost more."""
        try:
            return self._partitions[topic][number]
        except KeyError:
            return self._partitions.setdefault(topic, {}).setdefault(number, (topic, number))

    def _take(self, message: Any, partition: Partition, offset: int, value: bytes | None) -> None:
        windower = self._windower
        envelope, before = _NO_ENVELOPE, NOTHING
        try:
            envelope = self._envelope(message.headers())
            if not self._wanted(envelope, partition[0]):
                windower.ignore()
                return
            if envelope.sequence is not None and envelope.replay is not None:
                found = windower.sequences.accept(envelope.replay, partition, envelope.sequence, value or b"")
                if found is None:
                    if not windower.ledger.is_early(partition, offset):
                        windower.duplicate(partition, offset)
                    return
                before = found
            if windower.ledger.is_early(partition, offset):
                return
            if value and len(value) > self._most:
                raise BadRecord(f"{len(value)} bytes are more than the {self._most} allowed")
            records = self._decode(partition[0], message.key(), value, envelope)
        except BadRecord as error:
            if not windower.ledger.is_early(partition, offset):
                windower.reject(Incoming(partition, offset, envelope.replay, before, (), value or b""), str(error))
            return
        first = records[0]
        if type(first) is Heartbeat:
            windower.watermark.advance(partition, first.time_ms)
            return
        if type(first) is EndOfStream and envelope.replay is not None and envelope.sequence is not None:
            check_end(envelope.replay, partition, first, before)
        windower.add(Incoming(partition, offset, envelope.replay, before, records, value or b""))

    def _envelope(self, headers: list[tuple[str, Any]] | None) -> Envelope:
        """Headers as values; those of the very replay we read are recognised without decoding them."""
        if headers is not None and len(headers) == 3:
            replay, (name, number), datacenter = headers
            usual = replay == self._usual_replay and name == SEQUENCE and datacenter == self._usual_datacenter
            if usual and number.isdigit() and len(number) < 17:
                return Envelope(self._replay, int(number), self._datacenter)
        return open_envelope(headers)

    def _wanted(self, envelope: Envelope, topic: str) -> bool:
        if envelope.datacenter is not None and envelope.datacenter != self._datacenter:
            return False
        if self._replay is None or envelope.replay == self._replay:
            return True
        return envelope.replay is None and topic in self._watched


_NO_ENVELOPE = Envelope()
