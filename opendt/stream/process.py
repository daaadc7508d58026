"""What our helper processes share."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

_PR_SET_PDEATHSIG = 1


def die_with_parent(how: int = signal.SIGTERM) -> None:
    """Ask Linux to send this process a signal when its parent ends; elsewhere the closing of its input has to do."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, how)


def leave_signals_to_parent(orphaned: Callable[[], object]) -> None:
    """Have the parent heed control-C and SIGTERM, which reach its whole process group, for as long as it lives.

    A service manager, ``timeout`` or a terminal signals the group: were we to end at once, the parent could not finish
    in order. It closes our input when it is done. ``orphaned`` is called at the next SIGTERM once it is gone, on Linux
    the one sent at its end.
    """
    parent = os.getppid()

    def heed(number: int, frame: Any) -> None:
        if os.getppid() != parent:
            orphaned()

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, heed)
    die_with_parent()
