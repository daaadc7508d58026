"""``opendt simulate``: an engine over a whole trace, nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opendt.cli.common import ConfigOption, JsonOption, command, console, errors, print_json, print_table

if TYPE_CHECKING:
    from opendt.engine.base import SimulationResult
    from opendt.engine.whole import Run

TraceOption = Annotated[Path, typer.Option("--trace", help="Folder of the trace.", metavar="DIR")]
TopologyOption = Annotated[
    Path | None, typer.Option("--topology", help="Topology to use instead of the trace's.", metavar="FILE")
]
IntervalOption = Annotated[int, typer.Option("--interval", help="Spacing of samples [s].", min=1, metavar="S")]
EngineOption = Annotated[str | None, typer.Option("--engine", help="native or opendc.", metavar="ENGINE")]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", help="Write host, task, powerSource and service.parquet here.", metavar="DIR"),
]


@command
def simulate(
    trace: TraceOption,
    topology: TopologyOption = None,
    interval: IntervalOption = 150,
    out: OutOption = None,
    engine: EngineOption = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Follow OpenDC's update procedure step by step; slower.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Simulate a whole trace with one engine: energy, carbon, tasks, makespan, peak power."""
    from opendt.engine import get_engine
    from opendt.engine.whole import options_of, simulate_trace, write_tables
    from opendt.settings import load_settings

    settings = load_settings(config, {"engine.name": engine})
    simulator = get_engine(settings.engine.name, settings)
    if hasattr(simulator, "progress"):
        simulator.progress = lambda text: errors.print(f"{text} ...")
    options = options_of(settings, interval_s=interval, tables=out is not None, exact=exact)
    run = simulate_trace(simulator, trace, topology, options)
    if out is not None:
        write_tables(run.result, out)
    if as_json:
        print_json(run.summary())
        return
    _print(run, out)


def _print(run: Run, out: Path | None) -> None:
    for sentence in run.notes:
        console.print(sentence)
    print_table(("what", "value"), _rows(run.summary(), run.result))
    if out is not None:
        console.print(f"tables written to {out}")


def _rows(summary: dict[str, Any], result: SimulationResult) -> list[tuple[str, Any]]:
    names = {
        "energy_kwh": "energy [kWh]", "carbon_kg": "CO2 [kg]", "peak_power_w": "peak power [W]",
        "mean_power_w": "mean power [W]", "makespan_s": "makespan [s]", "tasks_run": "tasks run",
        "tasks_terminated": "tasks terminated", "tasks_dropped": "tasks dropped", "mean_wait_s": "mean wait [s]",
        "samples": "samples", "wall_s": "wall time [s]",
    }  # fmt: skip
    return [(label, summary[key]) for key, label in names.items()]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(simulate)
