"""Commit windows behind the simulation's back, several to a transaction when they come fast.

A transaction costs much the same for one window as for ten, because most of it is bookkeeping per table. While one
commit is under way the next windows queue up and go together in the following one: at full speed the lake keeps up
with the engine, and at real-time speed each window is committed as it comes.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType

from opendt.errors import LakeError
from opendt.lake.lake import CommitReport, Lake
from opendt.lake.writer import PreparedWindow, WindowCommit, prepare_window

OnCommitted = Callable[[Sequence[WindowCommit], CommitReport], None]


class WindowWriter:
    """Takes windows in order and commits them in that order from a thread of its own.

    Every transaction is whole windows with their checkpoints, so whatever the moment of a crash, the lake holds the
    windows up to some point and the state to go on from there.

    Args:
        lake: where to write.
        max_pending: windows that may wait; ``submit`` blocks beyond it, which bounds memory.
        max_batch: most windows in one transaction.
        on_committed: called from the writer's thread after each commit, e.g. to report progress.
    """

    def __init__(
        self, lake: Lake, *, max_pending: int = 64, max_batch: int = 32, on_committed: OnCommitted | None = None
    ) -> None:
        self._lake = lake
        self._max_pending = max_pending
        self._max_batch = max_batch
        self._on_committed = on_committed
        self._waiting: deque[PreparedWindow] = deque()
        self._busy = False
        self._closed = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="lake-writer", daemon=True)
        self._thread.start()

    def submit(self, commit: WindowCommit) -> None:
        """Queue a window; returns at once unless too many wait.

        Raises:
            LakeError: the window's rows do not fit their tables, or the writer is closed.
            OpenDTError: whatever stopped an earlier commit. Nothing after that one is written; resume from the
                lake's checkpoint.
        """
        prepared = prepare_window(commit)
        with self._changed:
            self._changed.wait_for(lambda: len(self._waiting) < self._max_pending or self._stopped())
            self._raise_error()
            if self._closed:
                raise LakeError("the window writer is closed.")
            self._waiting.append(prepared)
            self._changed.notify_all()

    def flush(self) -> None:
        """Wait until everything submitted is committed; raises what stopped a commit."""
        with self._changed:
            self._changed.wait_for(lambda: self._error is not None or not (self._waiting or self._busy))
            self._raise_error()

    def close(self) -> None:
        """Commit what waits, stop the thread and raise what stopped a commit."""
        self._stop()
        with self._changed:
            self._raise_error()

    def __enter__(self) -> WindowWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._stop()  # the block's own error says more than that of the writer

    def _stop(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _stopped(self) -> bool:
        return self._closed or self._error is not None

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while batch := self._next_batch():
            try:
                report = self._lake.commit_prepared(batch)
                if self._on_committed:
                    self._on_committed([window.commit for window in batch], report)
            except BaseException as error:  # handed to whoever submits or flushes next
                with self._changed:
                    self._error = error
                    self._waiting.clear()
            with self._changed:
                self._busy = False
                self._changed.notify_all()

    def _next_batch(self) -> list[PreparedWindow]:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._stopped())
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._max_batch))]
            self._busy = bool(batch)
            self._changed.notify_all()
            return batch
