"""What has come for one window, and where each piece was read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from opendt.models.messages import FragmentChunk, Partition, Record, TaskHead
from opendt.windows.assembly import Row, Rows
from opendt.windows.sequences import NOTHING


@dataclass(slots=True)
class Incoming:
    """A message as read: its place, its replay and that replay's mark before it, its records and raw value.

    ``records`` all belong to the window of the first.
    """

    partition: Partition
    offset: int
    replay: str | None
    before: tuple[int, int]
    records: tuple[Record, ...]
    value: bytes


@dataclass(slots=True)
class Buffer:
    """What has come for one window."""

    heads: list[tuple[int, int, Partition, int, TaskHead, Incoming]] = field(default_factory=list)
    chunks: list[tuple[int, int, int, FragmentChunk, Sequence[Incoming | Row]]] = field(default_factory=list)
    rows: list[Rows] = field(default_factory=list)
    power: list[tuple[int, float, Incoming]] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Number of records."""
        return len(self.heads) + len(self.chunks) + sum(map(len, self.rows)) + len(self.power)

    def rows_of(self, partition: Partition) -> Rows:
        """Where to add single fragments that were read next, from this partition."""
        if not self.rows or self.rows[-1].partition != partition:
            self.rows.append(Rows(partition))
        return self.rows[-1]

    def origins(self) -> list[Incoming | Row]:
        """Where the records were read, each message once."""
        rows = (block.row(place) for block in self.rows for place in range(len(block)))
        found: dict[tuple[Partition, int], Incoming | Row] = {(row[4], row[5]): row for row in rows}
        messages = [row[-1] for row in (*self.heads, *self.power)] + [origins[0] for *_, origins in self.chunks]
        found |= {(m.partition, m.offset): m for m in messages if isinstance(m, Incoming)}
        return list(found.values())


def incoming_of(origin: Incoming | Row) -> Incoming:
    """The message a piece was read from."""
    if isinstance(origin, Incoming):
        return origin
    return Incoming(origin[4], origin[5], None, NOTHING, (), origin[6])
