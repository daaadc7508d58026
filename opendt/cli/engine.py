"""``opendt engine``: which engines there are, and how well they agree with OpenDC."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opendt.cli.common import ConfigOption, JsonOption, command, console, errors, print_json, print_table

if TYPE_CHECKING:
    from opendt.engine.compare import Comparison

_TABLE_WIDTH = 110  # piped output has no width of its own; names must stay whole

group = typer.Typer(no_args_is_help=True, help="Simulation engines: what is installed, agreement with OpenDC.")

EngineOption = Annotated[str, typer.Option("--engine", help="native or opendc.", metavar="ENGINE")]


@command
def compare(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with scenario folders.")],
    engine: EngineOption = "native",
    strict: Annotated[
        bool, typer.Option("--strict", help="Bound every column, to the precision of the files; slower.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run every scenario folder below DIR and compare with the OpenDC results recorded in its expected/ folder.

    Exit code 1 if any bound is broken.
    """
    from opendt.engine import get_engine
    from opendt.engine.compare import compare as compare_all
    from opendt.engine.compare import find_scenarios
    from opendt.settings import load_settings

    total = len(find_scenarios(directory))
    with _Bar(total) as bar:
        simulator = get_engine(engine, load_settings(config), bar.say)
        found = compare_all(simulator, directory, bar.advance, strict=strict)
    if as_json:
        print_json(found.as_json())
    else:
        _print(found)
    if found.failed:
        raise typer.Exit(1)


class _Bar:
    """A progress bar on stderr while scenarios run; nothing when stderr is not a terminal."""

    def __init__(self, total: int) -> None:
        from rich.progress import Progress

        self._bar = Progress(console=errors, transient=True, disable=not errors.is_terminal)
        self._task = self._bar.add_task("starting", total=total)

    def __enter__(self) -> _Bar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def advance(self, name: str, number: int, total: int) -> None:
        """The scenario of that number begins."""
        self._bar.update(self._task, completed=number, total=total, description=name)

    def say(self, text: str) -> None:
        """Something slow begins."""
        self._bar.update(self._task, description=text)


def _print(found: Comparison) -> None:
    from rich.console import Console
    from rich.table import Table

    columns = ("scenario", "result", "power", "energy", "carbon", "usage", "task rows", "s")
    rows = [
        (
            outcome.name,
            "skipped" if outcome.skipped else "pass" if outcome.passed else "FAIL",
            _relative(outcome.largest("powerSource.power_draw", "host.power_draw")),
            _relative(outcome.largest("powerSource.energy_usage total", "host.energy_usage total")),
            _relative(outcome.largest("powerSource.carbon_emission total")),
            _relative(outcome.largest("host.cpu_usage", "task.cpu_usage")),
            _rows(outcome.largest("task.task_state", "task.host_name", "task.schedule_time", "task.finish_time")),
            f"{outcome.wall_s:.2f}",
        )
        for outcome in found.outcomes
    ]
    table = Table(title=f"{found.engine} against OpenDC: largest deviations", title_justify="left", header_style="bold")
    for column in columns:
        table.add_column(column, no_wrap=True)
    for row in rows:
        table.add_row(*row, style="red" if row[1] == "FAIL" else None)
    Console(width=max(console.width, _TABLE_WIDTH)).print(table)
    for outcome in found.outcomes:
        for text in outcome.why:
            console.print(f"[bold red]{outcome.name}[/]: {text}", soft_wrap=True)
        for text in [*outcome.notes, *([outcome.skipped] if outcome.skipped else [])]:
            console.print(f"{outcome.name}: {text}", soft_wrap=True)
    passed = sum(o.passed for o in found.outcomes)
    skipped = sum(o.skipped is not None for o in found.outcomes)
    console.print(
        f"{len(found.outcomes)} scenarios: {passed} passed, {len(found.failed)} failed, {skipped} skipped",
        soft_wrap=True,
    )


def _relative(value: float | None) -> str:
    return "" if value is None else f"{value:.1e}" if value else "0"


def _rows(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


@command
def info(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show the engines: versions, what was found of OpenDC, and what is missing."""
    from opendt.engine.info import engine_info
    from opendt.settings import load_settings

    facts = engine_info(load_settings(config).opendc)
    if as_json:
        print_json(facts)
        return
    for name, engine in facts.items():
        rows = [(key, _told(value)) for key, value in engine.items()]
        print_table(("fact", "value"), rows, title=name)


def _told(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return "\n".join(str(v) for v in value) or "none"
    return "" if value is None else str(value)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    if not group.registered_commands:
        group.command()(compare)
        group.command()(info)
    app.add_typer(group, name="engine")
