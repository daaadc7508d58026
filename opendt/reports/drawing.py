"""Figures drawn beside a run, by a process of their own: ``python -m opendt.reports.drawing``.

Drawing imports half a second's worth of modules and holds the interpreter for as long again; in the run's process both
would keep windows waiting. Frames on stdin and stdout are those of ``opendt.lake.sql_worker``: one order, one answer.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from types import TracebackType

from opendt.errors import OpenDTError
from opendt.lake import Lake
from opendt.lake.sql_worker import read_frame, write_frame
from opendt.settings import LakeSettings

Order = tuple[LakeSettings, str, str | None, tuple[str, ...]]


def draw(settings: LakeSettings, run_id: str, datacenter: str | None, names: Sequence[str]) -> dict[str, bytes]:
    """Figures of a run as PNG by name, e.g. ``power``, ``accuracy``, ``carbon``, ``calibration``.

    Raises:
        InputError: the lake does not know the run, or it has several datacenters and none was named.
        LakeError: there is no lake to read.
    """
    from opendt.reports import data
    from opendt.reports.figures import FIGURES, render

    with Lake.open(settings, read_only=True) as lake:
        run = data.find_run(lake, run_id, datacenter)
        return {name: render(FIGURES[name], lake, run, "png")["png"] for name in names}


class Drawing:
    """Figures that are being drawn while something else goes on. As a context manager: ends its process.

    It costs nothing when the process cannot start or dies: then ``take`` draws in this one.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._order: Order | None = None

    def start(self) -> None:
        """Have a process get ready."""
        with contextlib.suppress(OSError):
            self._process = subprocess.Popen(
                [sys.executable, "-m", "opendt.reports.drawing"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )  # fmt: skip

    def order(self, settings: LakeSettings, run_id: str, datacenter: str | None, names: Sequence[str]) -> None:
        """Have these figures drawn from what the lake holds now. Returns at once."""
        if self._process is None or self._process.stdin is None:
            return
        self._order = (settings, run_id, datacenter, tuple(names))
        try:
            write_frame(self._process.stdin, self._order)
        except OSError:
            self._order = None

    def take(
        self, settings: LakeSettings, run_id: str, datacenter: str | None, names: Sequence[str]
    ) -> dict[str, bytes]:
        """The figures that were ordered, or else drawn here and now; arguments and errors as for ``draw``."""
        ordered, self._order = self._order, None
        if ordered == (settings, run_id, datacenter, tuple(names)) and self._process and self._process.stdout:
            found = read_frame(self._process.stdout)
            if isinstance(found, dict):
                return found
        return draw(settings, run_id, datacenter, names)

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        process.wait()

    def __enter__(self) -> Drawing:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def main() -> None:
    """Draw what is ordered until stdin ends, as it does when the one who orders dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # control-C is for the one who orders
    os.nice(10)
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nothing a library prints can spoil a frame
    import opendt.reports.figures  # noqa: F401  (what takes long, before there is an order)

    while (order := read_frame(requests)) is not None:
        try:
            write_frame(answers, draw(*order))
        except OpenDTError:
            write_frame(answers, None)  # who ordered tries again and tells why


if __name__ == "__main__":
    main()
