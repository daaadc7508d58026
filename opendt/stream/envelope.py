"""What every record carries in its Kafka headers, whatever its layout: replay, sequence number, datacenter.

Consumers of the older systems never look at headers, so they ride along in those layouts too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

REPLAY = "replay"
SEQUENCE = "seq"
DATACENTER = "datacenter"
ORDER = "order"  # layouts opendt-v1, opendt-v0: the task's place among equal submission times
FRAGMENTS = "fragments"  # layout opendt-v0: how many fragments the task has, and "+" when any asks for CPU
SENT = "sent"  # older layouts: how many records of a topic's partitions were sent before this event time
END = "end"  # layout opendt-v1: a heartbeat that is the last record; its value is JSON

MAX_SEQUENCE = 2**53
_KNOWN = (REPLAY, SEQUENCE, DATACENTER, ORDER, FRAGMENTS, SENT, END)


class BadRecord(ValueError):
    """A record that cannot be understood; the message is the reason."""


@dataclass(slots=True)
class Envelope:
    """Headers as read; everything is None in a record of a foreign producer."""

    replay: str | None = None
    sequence: int | None = None
    datacenter: str | None = None
    extra: dict[str, bytes] | None = None


EMPTY = Envelope()


def open_envelope(headers: list[tuple[str, Any]] | None) -> Envelope:
    """Headers as values. Raises ``BadRecord`` for ones that cannot be read."""
    if not headers:
        return EMPTY
    if len(headers) == 3 and headers[0][0] == REPLAY and headers[1][0] == SEQUENCE and headers[2][0] == DATACENTER:
        (_, replay), (_, sequence), (_, datacenter) = headers  # what our own replay writes, nearly always
        extra = None
    else:
        known = {name: value for name, value in headers if name in _KNOWN}
        if not known:
            return EMPTY
        replay, sequence, datacenter = known.get(REPLAY), known.get(SEQUENCE), known.get(DATACENTER)
        extra = known
    try:
        return Envelope(
            replay=None if replay is None else replay.decode(),
            sequence=None if sequence is None else _sequence(sequence),
            datacenter=None if datacenter is None else datacenter.decode(),
            extra=extra,
        )
    except (ValueError, AttributeError) as error:
        raise BadRecord(f"headers cannot be read: {error}") from None


def _sequence(text: bytes) -> int:
    if not text.isdigit() or len(text) > 16:
        raise ValueError(f"{SEQUENCE} is {text[:40]!r}, not a number from 0 to {MAX_SEQUENCE}")
    return int(text)
