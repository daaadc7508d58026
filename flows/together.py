"""Windows that come fast share a task run; at the pace of a live cluster each has one of its own.

A task run costs ten milliseconds in the flow's process and the server's, simulating a window five: a replay at full
speed would spend more on telling than on simulating (docs/decisions/0006-workflows-outside.md).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Protocol

from opendt.errors import OpenDTError
from opendt.windows.batch import WindowBatch

SLICE_S = 0.1
MOST = 24


class Windows(Protocol):
    """Where windows come from."""

    def next_within(self, wait_s: float | None) -> WindowBatch | None: ...


def together(
    stream: Windows, limit: int | None = None, *, clock: Callable[[], float] = time.monotonic
) -> Iterator[list[WindowBatch]]:
    """Groups of windows in order: as many as come, and are simulated, in a tenth of a second each, but at least one.

    Nothing waits for company that does not come: a window is given at once unless it came right after those before.

    Args:
        stream: ``next_within`` gives the next window, or None when it has ended or none came in time.
        limit: windows in all; None for no limit.
        clock: seconds.

    Raises:
        OpenDTError: of the stream, after the windows that came before it were given.
    """
    share, given = 1, 0
    while limit is None or given < limit:
        asked_s = clock()
        first = stream.next_within(None)
        if first is None:
            return
        came_s = clock()
        room = share if came_s - asked_s < SLICE_S else 1
        group, failure = _joined(
            stream, first, room if limit is None else min(room, limit - given), came_s + SLICE_S, clock
        )
        given += len(group)
        began_s = clock()
        yield group
        each_s = (clock() - began_s) / len(group)
        share = max(1, min(MOST, round(SLICE_S / max(each_s, SLICE_S / MOST))))
        if failure is not None:
            raise failure


def _joined(
    stream: Windows, first: WindowBatch, room: int, until_s: float, clock: Callable[[], float]
) -> tuple[list[WindowBatch], OpenDTError | None]:
    """The first window and those that follow it in time; the error that ended the stream, if one did."""
    group = [first]
    try:
        while len(group) < room and (left_s := until_s - clock()) > 0:
            following = stream.next_within(left_s)
            if following is None:
                break
            group.append(following)
    except OpenDTError as error:
        return group, error
    return group, None


def span(group: list[WindowBatch]) -> str:
    """What a group is called."""
    first, last = group[0].index, group[-1].index
    return f"window {first}" if first == last else f"windows {first} to {last}"
