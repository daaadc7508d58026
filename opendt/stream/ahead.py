"""Back-pressure on the embedded broker, which silently forgets what lies too far behind the newest record."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

from opendt.errors import BrokerUnavailableError
from opendt.settings import StreamSettings
from opendt.stream import kafka
from opendt.stream.pacing import Clock

_STEP_BYTES = 32_768
_PAUSE_S = 0.002


class Ahead:
    """Keeps a producer at most ``embedded_ahead_bytes`` per partition ahead of what the reader's group committed.

    Bytes are counted before compression, which errs on the safe side.
    """

    def __init__(self, settings: StreamSettings, group: str, clock: Clock) -> None:
        self._settings, self._clock, self._group = settings, clock, group
        self._client = kafka.consumer(settings, group)
        self._limit = settings.embedded_ahead_bytes
        self._next: dict[tuple[str, int], int] = {}
        self._sent: dict[tuple[str, int], int] = defaultdict(int)
        self._read: dict[tuple[str, int], int] = defaultdict(int)
        self._steps: dict[tuple[str, int], deque[tuple[int, int]]] = defaultdict(deque)

    def sent(self, topic: str, partition: int, size: int) -> bool:
        """Note a record that was sent; tells whether its partition is now too far ahead."""
        where = (topic, partition)
        if where not in self._next:
            self._next[where] = kafka.watermarks(self._client, topic, partition, self._settings)[1]
        self._next[where] += 1
        total = self._sent[where] + size
        self._sent[where] = total
        steps = self._steps[where]
        if not steps or total - steps[-1][1] >= _STEP_BYTES:
            steps.append((self._next[where], total))
        return total - self._read[where] > self._limit

    def wait(self, meanwhile: Callable[[], Any], stopped: Callable[[], bool]) -> None:
        """Wait until every partition is within the limit again.

        Raises:
            BrokerUnavailableError: nobody read anything for ``stream.poll_timeout_s``.
        """
        silent_since = self._clock.monotonic()
        while not stopped():
            if self._refresh():
                silent_since = self._clock.monotonic()
            if all(self._sent[w] - self._read[w] <= self._limit for w in self._steps):
                return
            if self._clock.monotonic() - silent_since > self._settings.poll_timeout_s:
                raise BrokerUnavailableError(
                    f"nobody has read from the embedded broker for {self._settings.poll_timeout_s:g} s (group "
                    f"{self._group}). Start the twin for this replay id, or use a Kafka that keeps records.",
                    group=self._group,
                )
            meanwhile()
            self._clock.sleep(_PAUSE_S)

    def _refresh(self) -> bool:
        progressed = False
        for where, offset in kafka.committed(self._client, list(self._steps), self._settings).items():
            steps = self._steps[where]
            while steps and steps[0][0] <= offset:
                self._read[where] = steps.popleft()[1]
                progressed = True
        return progressed

    def close(self) -> None:
        """Release the client."""
        kafka.close(self._client)
