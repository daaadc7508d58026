"""Sequence numbers per replay and partition: duplicates are dropped, gaps stop the run."""

from __future__ import annotations

from collections.abc import Mapping
from zlib import crc32

from opendt.errors import StreamGapError
from opendt.models.messages import EndOfStream, Partition, SequenceMark

NOTHING = (-1, 0)  # before a replay's first record in a partition


class Sequences:
    """The last sequence number of each (replay, partition), and the running CRC-32 of the values up to it."""

    def __init__(self, known: Mapping[tuple[str, str, int], SequenceMark] | None = None) -> None:
        self._marks: dict[tuple[str, Partition], tuple[int, int]] = {
            (replay, (topic, partition)): (mark.last, mark.checksum)
            for (replay, topic, partition), mark in (known or {}).items()
        }

    def mark(self, replay: str, partition: Partition) -> tuple[int, int]:
        """(last sequence number, checksum) of a replay in a partition; (-1, 0) before its first record."""
        return self._marks.get((replay, partition), NOTHING)

    def marks(self) -> Mapping[tuple[str, Partition], tuple[int, int]]:
        """All marks, by (replay, partition)."""
        return self._marks

    def advance(self, replay: str, partition: Partition, mark: tuple[int, int]) -> None:
        """Set the mark after records whose numbers and checksum the caller followed itself."""
        self._marks[replay, partition] = mark

    def accept(self, replay: str, partition: Partition, sequence: int, value: bytes) -> tuple[int, int] | None:
        """Note a record; gives the mark before it, or None for a record that was seen before.

        Raises:
            StreamGapError: records are missing before this one.
        """
        key = (replay, partition)
        before = self._marks.get(key, NOTHING)
        last, checksum = before
        if sequence <= last:
            return None
        if sequence != last + 1:
            topic, number = partition
            raise StreamGapError(
                f"{topic}[{number}]: record {last + 1} of replay {replay} is missing, got {sequence}. Records were "
                "lost or removed by retention; replay again with the same replay id, or raise the topic's retention.",
                topic=topic, partition=number, expected=last + 1, got=sequence,
            )  # fmt: skip
        self._marks[key] = (sequence, crc32(value, checksum))
        return before


def check_end(replay: str, partition: Partition, end: EndOfStream, before: tuple[int, int]) -> None:
    """Compare what came (``before``: last sequence number and checksum) with what the end marker says was sent.

    Raises:
        StreamGapError: another number of records, or other content.
    """
    last, checksum = before
    topic, number = partition
    if end.count != last + 1:
        raise StreamGapError(
            f"{topic}[{number}]: replay {replay} sent {end.count} records, {last + 1} came. Replay again.",
            topic=topic, partition=number, expected=end.count, got=last + 1,
        )  # fmt: skip
    if end.checksum != checksum:
        raise StreamGapError(
            f"{topic}[{number}]: the records of replay {replay} are not those that were sent (checksum "
            f"{checksum:#010x}, sent {end.checksum:#010x}). Replay again under a new replay id.",
            topic=topic, partition=number, expected=end.checksum, got=checksum,
        )  # fmt: skip
