"""Where a replay that was interrupted goes on: after the last record of its id in each partition."""

from __future__ import annotations

import time
from collections.abc import Iterable

from opendt.errors import BrokerUnavailableError
from opendt.settings import StreamSettings
from opendt.stream import kafka
from opendt.stream.envelope import BadRecord, open_envelope

_FIRST_LOOK = 100
_GROWTH = 50


def last_sequences(
    settings: StreamSettings, replay_id: str, partitions: Iterable[tuple[str, int]]
) -> dict[tuple[str, int], int]:
    """Next sequence number to send per partition; partitions without a record of this replay are left out.

    Reads backwards from the end of each partition in growing steps, so that the usual case is cheap.
    """
    client = kafka.consumer(settings, f"opendt.resume.{replay_id}")
    try:
        found = {}
        for where in partitions:
            low, high = kafka.watermarks(client, *where, settings)
            last = _search(client, settings, replay_id, where, low, high)
            if last is not None:
                found[where] = last + 1
        return found
    finally:
        kafka.close(client)


def _search(
    client: object, settings: StreamSettings, replay_id: str, where: tuple[str, int], low: int, high: int
) -> int | None:
    stop, step = high, _FIRST_LOOK
    while stop > low:
        start = max(low, stop - step)
        last = _scan(client, settings, replay_id, where, start, stop)
        if last is not None:
            return last
        stop, step = start, step * _GROWTH
    return None


def _scan(
    client: object, settings: StreamSettings, replay_id: str, where: tuple[str, int], start: int, stop: int
) -> int | None:
    """Largest sequence number of the replay among the records with offsets in [start, stop)."""
    kafka.assign(client, {where: start})
    last, offset = None, start
    deadline = time.monotonic() + kafka.TIMEOUT_S
    while offset < stop:
        for message in kafka.poll(client, settings, 0.05):
            offset = message.offset() + 1
            if offset > stop:
                break
            try:
                envelope = open_envelope(message.headers())
            except BadRecord:
                continue
            if envelope.replay == replay_id and envelope.sequence is not None:
                last = max(envelope.sequence, -1 if last is None else last)
            deadline = time.monotonic() + kafka.TIMEOUT_S
        if time.monotonic() > deadline:
            raise BrokerUnavailableError(f"{where[0]}[{where[1]}] could not be read back from offset {offset}.")
    return last
