"""The ``opendt`` command: parse, call the library once, print.

Each module in this package adds its commands with ``register(app)``. Modules are imported when the command
line is built, so they import heavy packages (Prefect, DuckDB, Numba) inside their functions.
"""

from __future__ import annotations

import gc
import importlib
import pkgutil
import signal
from typing import Any

import typer
from typer.core import TyperGroup


class Commands(TyperGroup):
    """The group of all commands; ``--help`` shows no type for options that take no value."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line."""
        _untyped_flags(self)
        return super().main(*args, **kwargs)


def _untyped_flags(command: Any) -> None:
    for option in command.get_params(typer.Context(command)):
        if getattr(option, "is_flag", False) and option.metavar is None:
            option.metavar = ""
    for inner in getattr(command, "commands", {}).values():
        _untyped_flags(inner)


app = typer.Typer(
    name="opendt", cls=Commands, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="markdown",
    help="A digital twin for datacenters: replay, simulate, calibrate, optimize, query.",
)  # fmt: skip


def _version(show: bool) -> None:
    if show:
        from opendt import __version__

        typer.echo(__version__)
        raise typer.Exit()


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """A digital twin for datacenters."""


for _module in sorted(m.name for m in pkgutil.iter_modules(__path__)):
    _found = importlib.import_module(f"{__name__}.{_module}")
    if hasattr(_found, "register"):
        _found.register(app)


def main() -> None:
    """Entry point of the ``opendt`` command. SIGTERM, a service manager's stop, is heeded like control-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app()
    finally:
        gc.freeze()  # the interpreter's last collection would look at every object of a run for half a second
