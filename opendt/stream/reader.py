"""From Kafka messages to what the windows take: envelope, sequence check, decoding."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any
from zlib import crc32

from opendt.models.messages import EndOfStream, Heartbeat, Partition, Record
from opendt.settings import StreamSettings
from opendt.stream.envelope import DATACENTER, REPLAY, SEQUENCE, BadRecord, Envelope, open_envelope
from opendt.windows.assembly import Row
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
        self._decode_row = getattr(decode, "row", None)
        self._awaited: dict[Partition, tuple[str, int, int]] = {}
        self._usual_replay = None if replay_id is None else (REPLAY, replay_id.encode())
        self._usual_datacenter = (DATACENTER, datacenter.encode())

    def take(self, messages: Iterable[Any]) -> int:
        """Messages in the order read; gives the bytes of their values.

        Raises:
            StreamGapError: records are missing before one of them.
        """
        total, ledger = 0, self._windower.ledger
        last: dict[Partition, int] = {}
        rows: dict[Partition, list[Any]] = {}
        for message in messages:
            value: bytes | None = message.value()
            partition = self._partition(message.topic(), message.partition())
            offset = last[partition] = message.offset()
            total += len(value) if value else 0
            if partition[0] == self._row_topic:
                rows.setdefault(partition, []).append(message)
            else:
                self._take(message, partition, offset, value)
        for partition, found in rows.items():
            self._take_rows(partition, found)
        for partition, offset in last.items():
            ledger.read(partition, offset)
        if self._awaited:
            self._check_awaited()
        return total

    def _take_rows(self, partition: Partition, messages: Sequence[Any]) -> None:
        """Single fragments, of which there are millions: the usual ones together, the others one by one."""
        replay, decode = self._replay, self._decode_row
        if replay is None or decode is None or self._windower.ledger.has_early(partition):
            for message in messages:
                self._take(message, partition, message.offset(), message.value())
            return
        sequences = self._windower.sequences
        rows: list[Row] = []
        marks: list[tuple[int, int]] = []
        mark = sequences.mark(replay, partition)
        for message in messages:
            value = message.value()
            sequence = self._usual_sequence(message.headers())
            row = decode(message.key(), value) if sequence == mark[0] + 1 else None
            if row is not None and len(value) <= self._most:
                rows.append((*row, partition, message.offset(), value))
                marks.append(mark)
                mark = (sequence, crc32(value, mark[1]))
                continue
            self._add_rows(replay, rows, marks, mark)
            rows, marks = [], []
            self._take(message, partition, message.offset(), value)
            mark = sequences.mark(replay, partition)
        self._add_rows(replay, rows, marks, mark)

    def _add_rows(self, replay: str, rows: list[Row], marks: list[tuple[int, int]], mark: tuple[int, int]) -> None:
        if rows:
            self._windower.sequences.advance(replay, rows[0][4], mark)
            self._windower.add_rows(replay, rows, marks)

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
