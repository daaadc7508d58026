"""What ``opendt up`` does: server, broker and served deployments on this machine, ended together."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from flows.server import PrefectServer
from opendt.errors import TerminalError
from opendt.settings import PrefectSettings, Settings

if TYPE_CHECKING:
    from prefect.deployments.runner import RunnerDeployment


class Local:
    """A laptop's worth of OpenDT.

    Args:
        settings: address of the server, Kafka, time zone of schedules.
        form: what every flow's form starts with (``config``, ``lake``).
        limit: flow runs at the same time.
        say: prints one line for people.
        file: another prefect.yaml than the installed one.
    """

    def __init__(
        self, settings: Settings, *, form: dict[str, Any] | None = None, limit: int = 4,
        say: Callable[[str], None] = print, file: Path | None = None,
    ) -> None:  # fmt: skip
        self.settings = settings
        self._forms: dict[str, dict[str, Any]] = {"*": form or {}}
        self.limit = limit
        self.say = say
        self._file = file

    def run(self) -> None:
        """Start everything, serve until control-C or SIGTERM, then end everything that was started here.

        Raises:
            ConfigError: a port is in use by something else.
            TerminalError: the server did not start, or ended by itself.
        """
        from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

        from flows import automations, serve

        with _terminable(), ExitStack() as stack:
            self._start_broker(stack)
            found = serve.deployments(self.settings, parameters=self._forms, file=self._file)
            server = self._start_server(stack, Path(PREFECT_HOME.value()) / "opendt-server.log")
            stack.enter_context(temporary_settings({PREFECT_API_URL: server.url}))
            automations.register(self.settings.prefect)
            try:
                asyncio.run(self._serve(server, found))
            except KeyboardInterrupt:
                pass
            self.say("Stopping ...")
        self.say("Stopped. Schedules stay registered and go on with the next `opendt up`.")

    def _start_server(self, stack: ExitStack, log: Path) -> PrefectServer:
        server = PrefectServer(self.settings.prefect, log)
        self.say(f"Prefect server on {server.ui_url} ...")
        stack.enter_context(server)
        lake = describe_lake(self.settings)
        if server.started:
            self.say(f"Prefect server started, log in {server.log}")
            self.say(f"Results go to the lake {lake}")
            return server
        others = (
            "and so do those that another `opendt up` there takes up from now on"
            if self._forms["*"].get("lake")
            else "those that another `opendt up` there takes up go to its own"
        )
        self.say(
            f"Using the Prefect server that is already at {server.ui_url}; it is left running at the end. Runs taken "
            f"up here go to the lake {lake}, {others}; another --port keeps the two apart."
        )
        return server

    def _start_broker(self, stack: ExitStack) -> None:
        if self.settings.stream.bootstrap_servers:
            self.say(f"Kafka: {self.settings.stream.bootstrap_servers}")
            return
        from opendt.stream.broker import embedded_broker

        address = stack.enter_context(embedded_broker())
        # Not for `pipeline`: each run of it has a broker of its own, because what several replays leave in one
        # embedded broker together pushes out what a reader still needs.
        self._forms |= {name: {"kafka": address} for name in ("replay", "twin")}
        self.say(f"Embedded broker: {address} (for trying out; nothing in it survives)")

    async def _serve(self, server: PrefectServer, found: Sequence[RunnerDeployment]) -> None:
        from flows import serve

        names = ", ".join(d.name for d in found)
        serving = asyncio.create_task(serve.serve(found, self.limit, ready=lambda: self._ready(server, names)))
        watching = asyncio.create_task(_until_failed(server))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, serving.cancel)
        done, pending = await asyncio.wait({serving, watching}, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        for task in done:
            if not task.cancelled():
                task.result()

    def _ready(self, server: PrefectServer, names: str) -> None:
        self.say(f"Deployments: {names}")
        port = self.settings.prefect.port
        there = "" if port == PrefectSettings().port else f"OPENDT_PREFECT__PORT={port} "
        self.say(f"Open {server.ui_url}/deployments and start 'pipeline', or: {there}opendt run --remote --trace DIR")
        self.say("Control-C ends everything started here.")


def describe_lake(settings: Settings) -> str:
    """Where the lake of the settings is: its folder, and the place of its files where that is another."""
    lake = settings.lake
    return f"{lake.path.resolve()}" + (f" with its files in {lake.data_path}" if lake.data_path else "")


async def _until_failed(server: PrefectServer) -> None:
    while not server.failed():
        await asyncio.sleep(1.0)
    raise TerminalError(f"the Prefect server ended by itself; see {server.log}.", log=str(server.log))


@contextmanager
def _terminable() -> Iterator[None]:
    """Treat SIGTERM like control-C, so that a service manager's stop ends the children too."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
