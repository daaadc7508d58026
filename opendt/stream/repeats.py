"""A filter for what librdkafka says again and again: several times per second while a broker is out of reach."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable

QUIET_S = 60.0
_MOST = 256  # kinds of failures remembered

# FAIL [client] [thread]: broker: what happened (after 3ms in state CONNECT, 30 identical error(s) suppressed)
_FAILURE = re.compile(r"FAIL \[[^]]*\] (?:\[thrd:.*?\]: )?(?P<what>.*)", re.DOTALL)
_VARYING = re.compile(r"after \d+ms |, \d+ identical error\(s\) suppressed")


class Repeats(logging.Filter):
    """Lets a failed connection through once per broker, state and cause, then quiet for a while.

    The client and how long it tried make no difference. The next one let through says how many were left out.
    Everything that is no failed connection passes.

    Args:
        quiet_s: for how long to leave out the same [s].
        monotonic: where time comes from [s].
    """

    def __init__(self, quiet_s: float = QUIET_S, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._quiet_s, self._monotonic = quiet_s, monotonic
        self._said: dict[str, tuple[float, int]] = {}  # when last let through, how many left out since
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to log it; adds the number of those left out."""
        text = record.getMessage()
        failure = _FAILURE.fullmatch(text)
        if failure is None:
            return True
        left_out = self._left_out(_VARYING.sub("", failure["what"]))
        if left_out:
            record.msg, record.args = f"{text} ({left_out} more since the last such line)", ()
        return left_out is not None

    def _left_out(self, what: str) -> int | None:
        """How many were left out before this one; None to leave it out as well."""
        now = self._monotonic()
        with self._lock:
            since, count = self._said.get(what, (None, 0))
            if since is not None and now - since < self._quiet_s:
                self._said[what] = since, count + 1
                return None
            self._said.pop(what, None)
            self._said[what] = now, 0
            if len(self._said) > _MOST:
                del self._said[next(iter(self._said))]
            return count
