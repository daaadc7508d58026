"""``opendt trace``: look at, generate, fetch and convert traces."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from opendt.cli.common import JsonOption, command, console, print_json, print_table

trace_app = typer.Typer(no_args_is_help=True, help="Look at, generate, fetch and convert traces.")

SkipOption = Annotated[bool, typer.Option("--skip-invalid", help="Drop and count rows with invalid values.")]
TopologyOption = Annotated[Path | None, typer.Option("--topology", help="Topology file to use.", metavar="FILE")]


@trace_app.command("info")
@command
def info(
    folder: Annotated[Path, typer.Argument(help="Trace folder.", metavar="DIR")],
    topology: TopologyOption = None,
    skip_invalid: SkipOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show what a trace holds, what will not run and why, and what looks wrong."""
    from opendt.traces import read_trace
    from opendt.traces.summary import summarise

    facts = summarise(read_trace(folder, topology=topology, skip_invalid=skip_invalid))
    if as_json:
        print_json(facts)
        return
    shown = {section: value for section, value in facts.items() if section not in ("name", "warnings", "sha256")}
    rows = [row for section, value in shown.items() for row in _rows(section, value)]
    print_table(("what", "value"), rows, title=f"trace {facts['name']}")
    for warning in facts["warnings"]:
        console.print(f"[yellow]note:[/] {warning}")


def _rows(name: str, value: Any) -> list[tuple[str, Any]]:
    if value is None:
        return [(name, "none")]
    if isinstance(value, dict) and "p50" in value:
        return [(name, ", ".join(f"{key} {inner:,.4g}" for key, inner in value.items()))]
    if isinstance(value, dict):
        return [row for key, inner in value.items() for row in _rows(f"{name}.{key}", inner)]
    if isinstance(value, list):
        return [row for at, inner in enumerate(value) for row in _rows(f"{name}.{at}", inner)]
    return [(name, f"{value:,}" if isinstance(value, int) else value)]


def register(app: typer.Typer) -> None:
    """Add the command group."""
    app.add_typer(trace_app, name="trace")
