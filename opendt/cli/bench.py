"""``opendt bench``: how fast this installation is."""

from __future__ import annotations

from typing import Annotated

import typer

from opendt.cli.common import ConfigOption, JsonOption, command, errors, print_json, print_table
from opendt.cli.simulate import EngineOption, IntervalOption, TopologyOption, TraceOption

group = typer.Typer(no_args_is_help=True, help="Measure how fast this installation is.")


@command
def simulate(
    trace: TraceOption,
    topology: TopologyOption = None,
    engine: EngineOption = None,
    repeat: Annotated[int, typer.Option("--repeat", help="Warm runs.", min=1, metavar="N")] = 5,
    interval: IntervalOption = 150,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Time an engine from Parquet files to all result tables: cold, warm, in hourly windows, per power-model trial."""
    from opendt.engine import get_engine
    from opendt.engine.bench import bench_simulate
    from opendt.settings import load_settings

    settings = load_settings(config, {"engine.name": engine})
    simulator = get_engine(settings.engine.name, settings)
    with errors.status("starting") as status:
        found = bench_simulate(
            simulator,
            trace,
            topology=topology,
            repeat=repeat,
            interval_s=interval,
            say=lambda text: status.update(text),
        )
    if as_json:
        print_json(found)
        return
    labels = {
        "cold_s": "new process [s]", "warm_s": "warm, median [s]", "windowed_s": "hourly windows [s]",
        "windows": "windows", "trials_per_s": "power-model trials per second", "peak_rss_mb": "peak memory [MB]",
        "energy_kwh": "energy [kWh]", "tasks_run": "tasks run",
    }  # fmt: skip
    print_table(("what", "value"), [(label, found[key]) for key, label in labels.items()])


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group.command()(simulate)
    app.add_typer(group, name="bench")
