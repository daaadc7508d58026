"""Run one library function in a process of its own, which dies with its parent and hands back result or error.

Plain ``subprocess`` and not ``multiprocessing``: spawning would import the parent's main module again, and with it
Prefect (a second of CPU beside the work), and forking a process that has threads is unsafe.
"""

from __future__ import annotations

import importlib
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Generic, TypeVar

from opendt.errors import OpenDTError, TerminalError

R = TypeVar("R")

STOP_GRACE_S = 5.0


class Background(Generic[R]):
    """A function running in a child process. Use as a context manager: leaving it ends the child.

    Args:
        function: a function at module level; called as ``function(*args, **kwargs)`` in the child.
        args, kwargs: picklable values.
    """

    def __init__(self, function: Callable[..., R], *args: Any, **kwargs: Any) -> None:
        self.name = f"{function.__module__}:{function.__qualname__}"
        self._outcome: tuple[bool, Any] | None = None
        self._child = subprocess.Popen(
            [sys.executable, "-m", "tasks.process"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            start_new_session=True,  # control-C is ours to handle
        )  # fmt: skip
        assert self._child.stdin is not None
        try:
            pickle.dump((self.name, args, kwargs), self._child.stdin)
            self._child.stdin.flush()  # kept open: its end tells the child that we are gone
        except BrokenPipeError:
            pass  # the child died at once; result() says how
        self._reader = threading.Thread(target=self._read, name=f"background {self.name}", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._child.stdout is not None
        try:
            self._outcome = pickle.load(self._child.stdout)
        except (EOFError, pickle.UnpicklingError):
            self._outcome = None

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether the function has neither returned nor raised yet."""
        return self._reader.is_alive()

    def check(self) -> None:
        """Raise the child's error if it has failed already; otherwise return at once."""
        if not self.running:
            self.result()

    def result(self, timeout_s: float | None = None) -> R:
        """What the function returned. Raises what it raised, or ``TerminalError`` if its process died."""
        self._reader.join(timeout_s)
        if self._reader.is_alive():
            raise TerminalError(f"{self.name} did not end within {timeout_s} s.", function=self.name)
        if self._outcome is None:
            code = self._child.wait()
            how = f"was killed by signal {-code}" if code < 0 else f"exited with code {code}"
            raise TerminalError(f"the process of {self.name} {how} without a result. Run again.", function=self.name)
        succeeded, value = self._outcome
        if not succeeded:
            raise value
        return value

    def stop(self) -> None:
        """End the child. Harmless when it has ended."""
        if self._child.stdin and not self._child.stdin.closed:
            try:
                self._child.stdin.close()
            except BrokenPipeError:
                pass
        try:
            self._child.wait(STOP_GRACE_S if self._outcome is not None else 0.5)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._reader.join()
        if self._child.stdout:
            self._child.stdout.close()

    def __enter__(self) -> Background[R]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _child() -> None:
    """Read a call from stdin, make it, write (True, result) or (False, error) to what was stdout."""
    answer = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever the function prints must not enter the answer
    name, args, kwargs = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    module, _, attribute = name.partition(":")
    try:
        outcome = (True, getattr(importlib.import_module(module), attribute)(*args, **kwargs))
    except OpenDTError as error:
        outcome = (False, error)
    except Exception as error:
        import traceback

        traceback.print_exc()
        outcome = (False, TerminalError(f"{name} failed: {type(error).__name__}: {error}", function=name))
    pickle.dump(outcome, answer)
    answer.flush()
    os._exit(0)


def _die_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(3)


if __name__ == "__main__":
    _child()
