"""From Kafka messages to what the windows take: envelope, sequence check, decoding."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from opendt.models.messages import EndOfStream, Heartbeat, Partition, Record
from opendt.settings import StreamSettings
from opendt.stream.envelope import DATACENTER, REPLAY, SENT, SEQUENCE, BadRecord, Envelope, open_envelope
from opendt.stream.promises import Promises
from opendt.windows.assembly import Rows
from opendt.windows.buffer import Incoming
from opendt.windows.sequences import NOTHING, check_end
from opendt.windows.windower import Windower

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
        self._row_topic = getattr(decode, "row_topic", None)
        self._decode_rows = getattr(decode, "rows", None)
        self.promises = Promises(windower, self._row_topic)
        self._awaited: dict[Partition, tuple[str, int, int]] = {}
        self._usual_replay = None if replay_id is None else (REPLAY, replay_id.encode())
        self._usual_datacenter = (DATACENTER, datacenter.encode())

    def take(self, messages: Iterable[Any]) -> int | None:
        """Messages in the order read; gives the bytes of their values, None when there were no messages.

        Raises:
            StreamGapError: records are missing before one of them.
        """
        total, ledger = 0, self._windower.ledger
        last: dict[Partition, int] = {}
        rows: dict[Partition, list[Any]] = {}
        for message in messages:
            partition = self._partition(message.topic(), message.partition())
            if partition[0] == self._row_topic:
                rows.setdefault(partition, []).append(message)
                continue
            value: bytes | None = message.value()
            offset = last[partition] = message.offset()
            total += len(value) if value else 0
            self._take(message, partition, offset, value)
        for partition, found in rows.items():
            total += self._take_rows(partition, found)
            last[partition] = found[-1].offset()
        for partition, offset in last.items():
            ledger.read(partition, offset)
        self.promises.keep()
        if self._awaited:
            self._check_awaited()
        return total if last else None

    def _take_rows(self, partition: Partition, messages: Sequence[Any]) -> int:
        """Single fragments, of which there are millions: together when all are usual, else one by one.

        Gives the bytes of their values.
        """
        rows = self._rows(partition, messages)
        if rows is None:
            for message in messages:
                self._take(message, partition, message.offset(), message.value())
            return sum(len(message.value() or b"") for message in messages)
        sequences, replay = self._windower.sequences, self._replay
        assert replay is not None
        sequences.advance(replay, partition, self._windower.add_rows(replay, rows, sequences.mark(replay, partition)))
        return sum(map(len, rows.value))

    def _rows(self, partition: Partition, messages: Sequence[Any]) -> Rows | None:
        """The messages as columns, if every one is the next of the replay that is read and can be understood."""
        replay, decode = self._replay, self._decode_rows
        if replay is None or decode is None or self._windower.ledger.has_early(partition):
            return None
        first = self._windower.sequences.mark(replay, partition)[0] + 1
        usual_replay, usual_datacenter = self._usual_replay, self._usual_datacenter
        told = []
        for expected, message in enumerate(messages, first):
            headers, usual = message.headers(), [usual_replay, (SEQUENCE, b"%d" % expected), usual_datacenter]
            if headers != usual:
                if headers is None or headers[:3] != usual or len(headers) != 4 or headers[3][0] != SENT:
                    return None
                told.append(headers[3][1])
        values = [message.value() for message in messages]
        if not all(values) or max(map(len, values)) > self._most:
            return None
        columns = decode([message.key() for message in messages], values)
        if columns is None:
            return None
        begin_ms, owners, durations_ms, usages = columns
        offsets = [message.offset() for message in messages]
        try:
            for header in told:
                self.promises.note(replay, header)
        except BadRecord:
            return None
        return Rows(partition, begin_ms, owners, durations_ms, usages, offsets, values)

    def _usual_sequence(self, headers: list[tuple[str, Any]] | None) -> int:
        """Sequence number in the headers that our own replay writes, -1 for any others."""
        if headers is None or len(headers) != 3:
            return -1
        replay, (name, number), datacenter = headers
        usual = replay == self._usual_replay and name == SEQUENCE and datacenter == self._usual_datacenter
        return int(number) if usual and number.isdigit() and len(number) < 17 else -1

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
            if envelope.replay is not None and envelope.extra and SENT in envelope.extra:
                self.promises.note(envelope.replay, envelope.extra[SENT])
            records = self._decode(partition[0], message.key(), value, envelope)
        except BadRecord as error:
            if not windower.ledger.is_early(partition, offset):
                windower.reject(Incoming(partition, offset, envelope.replay, before, (), value or b""), str(error))
            return
        first = records[0]
        if type(first) is Heartbeat and windower.heartbeat(partition, first.time_ms):
            return
        if type(first) is EndOfStream and envelope.replay is not None and envelope.sequence is not None:
            check_end(envelope.replay, partition, first, before)
            self._await_others(envelope.replay, first)
        windower.add(Incoming(partition, offset, envelope.replay, before, records, value or b""))

    def _await_others(self, replay: str, end: EndOfStream) -> None:
        """Partitions without an end marker of their own end when all their records have come."""
        for where, (count, checksum) in end.others.items():
            topic, _, number = where.rpartition("/")
            if number.isdigit():
                self._awaited[self._partition(topic, int(number))] = (replay, count, checksum)

    def _check_awaited(self) -> None:
        for partition, (replay, count, checksum) in list(self._awaited.items()):
            mark = self._windower.sequences.mark(replay, partition)
            if mark[0] + 1 >= count:
                check_end(replay, partition, EndOfStream(0, count, checksum), mark)
                self._windower.watermark.end(partition)
                del self._awaited[partition]

    def _envelope(self, headers: list[tuple[str, Any]] | None) -> Envelope:
        """Headers as values; those of the very replay we read are recognised without decoding them."""
        sequence = self._usual_sequence(headers)
        return open_envelope(headers) if sequence < 0 else Envelope(self._replay, sequence, self._datacenter)

    def _wanted(self, envelope: Envelope, topic: str) -> bool:
        if envelope.datacenter is not None and envelope.datacenter != self._datacenter:
            return False
        if self._replay is None or envelope.replay == self._replay:
            return True
        return envelope.replay is None and topic in self._watched


_NO_ENVELOPE = Envelope()
