"""The Prefect server: find one that answers, or start one and end it again."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from opendt.doctor import port_is_free, prefect_version
from opendt.errors import ConfigError, TerminalError, TransientError
from opendt.settings import PrefectSettings
from tasks.environment import server_environment

START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 15.0
_PR_SET_PDEATHSIG = 1


def api_url(settings: PrefectSettings) -> str:
    """Address of the API of the server that the settings describe."""
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::", "") else settings.host
    return f"http://{host}:{settings.port}/api"


def reachable_api(settings: PrefectSettings) -> str | None:
    """The API to report to: PREFECT_API_URL or the profile's if it answers, else the local server's if that does."""
    from prefect.settings import get_current_settings

    for url in dict.fromkeys((get_current_settings().api.url, api_url(settings))):
        if url and prefect_version(url):
            return url
    return None


def require_api(settings: PrefectSettings) -> str:
    """Like ``reachable_api``. Raises ``TransientError`` when no server answers."""
    url = reachable_api(settings)
    if url is None:
        raise TransientError(
            f"no Prefect server answers at {api_url(settings)}. Start one with `opendt up`, or set PREFECT_API_URL to "
            "the address of one."
        )
    return url


@dataclass
class PrefectServer:
    """A running server. As a context manager: starts one if none answers, and ends only what it started.

    Attributes:
        settings: address and port.
        log: file for the server's output.
        started: whether this object started it (else somebody else's is used).
    """

    settings: PrefectSettings
    log: Path
    started: bool = False
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Address of its API."""
        return api_url(self.settings)

    @property
    def ui_url(self) -> str:
        """Address of its user interface."""
        return self.url.removesuffix("/api")

    def start(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Use the server that answers, or start one and wait until it is healthy.

        Raises:
            ConfigError: something else listens on the port.
            TerminalError: the server did not come up; the message ends with its last lines.
        """
        if prefect_version(self.url):
            return
        host, port = self.settings.host, self.settings.port
        if not port_is_free(host, port):
            raise ConfigError(
                f"port {port} on {host} is in use by something that is not a Prefect server. "
                f"Stop it, or choose another port: OPENDT_PREFECT__PORT={port + 1} or prefect.port in --config.",
                setting="prefect.port", port=port,
            )  # fmt: skip
        self.log.parent.mkdir(parents=True, exist_ok=True)
        environment = server_environment() | {
            "PREFECT_API_URL": self.url,
            "PREFECT_SERVER_UI_API_URL": self.url,
            "PREFECT_CLI_PROMPT": "false",
        }
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "prefect", "server", "start", "--host", host, "--port", str(port)],
                env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                start_new_session=True, preexec_fn=_end_with_parent,
            )  # fmt: skip
        self.started = True
        try:
            self._wait_until_healthy(timeout_s)
        except BaseException:
            self.stop()
            raise

    def _wait_until_healthy(self, timeout_s: float) -> None:
        assert self._process is not None
        deadline = time.monotonic() + timeout_s
        while not prefect_version(self.url):
            code = self._process.poll()
            if code is not None:
                raise TerminalError(
                    f"the Prefect server ended with code {code} while starting; see {self.log}. {self._tail()}",
                    log=str(self.log),
                )
            if time.monotonic() > deadline:
                raise TerminalError(
                    f"the Prefect server was not healthy after {timeout_s:.0f} s; see {self.log}. {self._tail()}",
                    log=str(self.log),
                )
            time.sleep(0.2)

    def _tail(self, lines: int = 3) -> str:
        text = self.log.read_text(errors="replace").strip().splitlines()[-lines:]
        return "Its last words: " + " | ".join(line.strip() for line in text) if text else ""

    def failed(self) -> bool:
        """Whether a server started here has ended by itself."""
        return self._process is not None and self._process.poll() is not None

    def stop(self) -> None:
        """End the server if it was started here."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process = None

    def __enter__(self) -> PrefectServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _end_with_parent() -> None:
    """Ask Linux to end this child when its parent dies, even by kill -9. Other systems have no such request."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
