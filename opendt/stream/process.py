"""What our helper processes share."""

from __future__ import annotations

import ctypes
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(how: int = signal.SIGTERM) -> None:
    """Ask Linux to send this process a signal when its parent ends; elsewhere the closing of its input has to do."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, how)
