"""Start and stop a run of the main job, as the older API's start and stop buttons do."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Literal

from opendt.errors import InputError, TransientError
from opendt.settings import Settings

State = Literal["stopped", "running", "stopping", "error"]

STOP_S = 20.0


class Launcher:
    """Runs ``opendt run`` in a process of its own; one at a time. Its output goes to a file beside the lake."""

    def __init__(self, settings: Settings, config: Path | None = None) -> None:
        self._settings = settings
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = False
        self._guard = threading.Lock()
        self.run_id = ""
        self.log_file: Path | None = None

    @property
    def state(self) -> State:
        """What the process started last is doing."""
        process = self._process
        if process is None:
            return "stopped"
        status = process.poll()
        if status is None:
            return "stopping" if self._stopping else "running"
        return "stopped" if status == 0 or self._stopping else "error"

    def start(self, trace: Path | None = None, speed: float | None = None, run_id: str = "") -> str:
        """Start a run; returns its id.

        Raises ``InputError`` when the trace is not a folder, ``TransientError`` when one is running already.
        """
        folder = Path(trace or self._settings.api.trace)
        if not (folder / "tasks.parquet").is_file():
            raise InputError(
                f"{folder}: holds no tasks.parquet. Name another trace, or make one with `opendt trace make {folder}`.",
                trace=str(folder),
            )
        with self._guard:
            if self.state in ("running", "stopping"):
                raise TransientError(f"run {self.run_id} is {self.state}. Stop it first.")
            self.run_id = run_id or time.strftime("api-%Y%m%d-%H%M%S", time.gmtime())
            self.log_file = Path(self._settings.lake.path) / "logs" / f"{self.run_id}.log"
            self.log_file.parent.mkdir(parents=True, exist_ok=True)
            with self.log_file.open("ab") as log:
                self._process = subprocess.Popen(
                    self._command(folder, speed), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
                )
            self._stopping = False
        return self.run_id

    def stop(self, *, wait_s: float = 0.0) -> bool:
        """Ask the run to stop; it commits what it has. Returns whether there was one to stop."""
        with self._guard:
            process = self._process
            if process is None or process.poll() is not None:
                return False
            self._stopping = True
            process.terminate()  # not an interrupt: whoever was started in the background ignores those
        if wait_s:
            try:
                process.wait(wait_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        return True

    def close(self) -> None:
        """Stop the run and wait for it."""
        self.stop(wait_s=STOP_S)

    def _command(self, trace: Path, speed: float | None) -> list[str]:
        command = [sys.executable, "-c", "from opendt.cli import main; main()", "run"]
        command += ["--trace", str(trace), "--run-id", self.run_id, "--lake", str(self._settings.lake.path)]
        if self._config:
            command += ["--config", str(self._config)]
        if speed is not None:
            command += ["--speed", str(speed)]
        return command
