"""Topics without a clock of their own (topologies) are read up to where they were when a window's time was over.

Their records are sent in order of event time with the others', but reach us through partitions of their own: at full
speed, or after a pause, windows would close before the topology that holds in them was read, or after, as it happens.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from opendt.errors import BrokerUnavailableError
from opendt.models.messages import Partition
from opendt.settings import StreamSettings
from opendt.stream import kafka
from opendt.windows.watermark import Watermark

log = logging.getLogger(__name__)

PATIENCE_S = 5.0
_ENDED = -1


class CatchUp:
    """Tells whether windows may close.

    Args:
        partitions: partitions of the topics concerned.
        length_ms: length of a window [ms].
        settings: where the broker is.
    """

    def __init__(self, partitions: Sequence[Partition], length_ms: int, settings: StreamSettings) -> None:
        self.partitions = frozenset(partitions)
        self._length_ms, self._settings = length_ms, settings
        self._reached: int | None = None
        self._ends: dict[Partition, int] = {}
        self._asked_s = 0.0

    def complete(self, client: Any, watermark: Watermark, read: Mapping[Partition, int], now_s: float) -> bool:
        """Whether everything has been read that was there when the watermark entered the window it is in.

        An end that no record leads up to (a foreign transaction's marker) is waited for ``PATIENCE_S`` at most.
        """
        reached = self._window_of(watermark)
        if reached is None:
            return True  # nothing can close
        if reached != self._reached:
            try:
                self._ends = {where: kafka.watermarks(client, *where, self._settings)[1] for where in self.partitions}
            except BrokerUnavailableError as error:
                log.info("windows wait: %s", error.message)
                return False
            self._reached, self._asked_s = reached, now_s
        self._ends = {where: end for where, end in self._ends.items() if read[where] < end}
        if self._ends and now_s - self._asked_s > PATIENCE_S:
            log.warning("going on without the last records of %s", ", ".join(f"{t}[{p}]" for t, p in self._ends))
            self._ends = {}
        return not self._ends

    def _window_of(self, watermark: Watermark) -> int | None:
        if watermark.ended:
            return _ENDED
        time_ms = watermark.time_ms
        return None if time_ms is None else time_ms // self._length_ms
