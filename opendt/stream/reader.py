"""From Kafka messages to what the windows take: envelope, sequence check, decoding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opendt.models.messages import EndOfStream, Record
from opendt.settings import StreamSettings
from opendt.stream.envelope import BadRecord, Envelope, open_envelope
from opendt.windows.sequences import check_end
from opendt.windows.windower import Incoming, Windower

Decoder = Callable[[str, Any, bytes | None, Envelope], tuple[Record, ...]]


class Reader:
    """Feeds messages to a windower: every message ends there as record, duplicate, dead letter or ignored.

    Args:
        windower: where they go.
        decode: the layout's decoder: (topic, key, value, envelope) to records, raises ``BadRecord``.
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

    def take(self, message: Any) -> int:
        """One message; gives the bytes of its value.

        Raises:
            StreamGapError: records are missing before it.
        """
        windower = self._windower
        value: bytes = message.value() or b""
        partition = (message.topic(), message.partition())
        offset: int = message.offset()
        windower.ledger.read(partition, offset)
        early = windower.ledger.is_early(partition, offset)
        before = (-1, 0)
        envelope = Envelope()
        try:
            envelope = open_envelope(message.headers())
            if not self._wanted(envelope, partition[0]):
                windower.ignore()
                return len(value)
            if envelope.replay is not None and envelope.sequence is not None:
                before = windower.sequences.mark(envelope.replay, partition)
                if not windower.sequences.accept(envelope.replay, partition, envelope.sequence, value):
                    if not early:
                        windower.duplicate(partition, offset)
                    return len(value)
            if early:
                return len(value)
            if len(value) > self._most:
                raise BadRecord(f"{len(value)} bytes are more than the {self._most} allowed")
            records = self._decode(partition[0], message.key(), message.value(), envelope)
        except BadRecord as error:
            if not early:
                windower.reject(Incoming(partition, offset, envelope.replay, before, (), value), str(error))
            return len(value)
        if records:
            self._accept(Incoming(partition, offset, envelope.replay, before, records, value), envelope)
        return len(value)

    def _wanted(self, envelope: Envelope, topic: str) -> bool:
        if envelope.datacenter is not None and envelope.datacenter != self._datacenter:
            return False
        if self._replay is None or envelope.replay == self._replay:
            return True
        return envelope.replay is None and topic in self._watched

    def _accept(self, incoming: Incoming, envelope: Envelope) -> None:
        first = incoming.records[0]
        if isinstance(first, EndOfStream) and envelope.replay is not None and envelope.sequence is not None:
            check_end(envelope.replay, incoming.partition, first, incoming.before)
        self._windower.add(incoming)
