"""The layouts by name: what a producer needs of one, and how a consumer decodes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from opendt.models.messages import Record
from opendt.settings import StreamSettings
from opendt.stream import columns
from opendt.stream.envelope import Envelope
from opendt.stream.layout_columns import ColumnsLayout
from opendt.stream.schedule import Message, Replayable


class Layout(Protocol):
    """A trace as messages. Same input, same messages, byte for byte; that is what lets a replay be restarted."""

    def __len__(self) -> int:
        """Messages, end markers not counted."""

    @property
    def begin_ms(self) -> int:
        """Event time of the first message."""

    @property
    def end_ms(self) -> int:
        """Event time of the last message."""

    @property
    def partitions(self) -> list[tuple[str, int]]:
        """Every (topic, partition) whose records carry event time."""

    def lanes(self) -> list[Iterator[Message]]:
        """Sequences of messages, each in event-time order; several are sent side by side from one barrier."""

    def ends(self, replay_id: str, counts: Mapping[tuple[str, int], tuple[int, int]]) -> list[Message]:
        """End markers, given (records, checksum) sent per partition."""


def layout_of(trace: Replayable, settings: StreamSettings, datacenter: str, partitions: Mapping[str, int]) -> Layout:
    """The configured layout of a trace."""
    return ColumnsLayout(trace, settings, datacenter, partitions)


def decoder_of(settings: StreamSettings) -> Callable[[str, Any, bytes | None, Envelope], tuple[Record, ...]]:
    """The configured layout's decoder: (topic, key, value, envelope) to records; raises ``BadRecord``."""
    return lambda topic, key, value, envelope: (columns.decode(value),)
