"""``opendt run`` and ``opendt demo``: the main job, from a trace to results in the lake."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from opendt.cli.common import ConfigOption, JsonOption, LakeOption, command, console, errors, print_json

DEMO_TRACE = Path("data/traces/demo")


def _files(kind: str, text: str) -> Any:
    return typer.Option(kind, help=text, metavar="DIR" if kind == "--trace" else "FILE")


@command
def run(
    trace: Annotated[Path, _files("--trace", "Folder of the trace to replay.")],
    topology: Annotated[Path | None, _files("--topology", "Topology instead of the trace's own.")] = None,
    config: ConfigOption = None,
    lake: LakeOption = None,
    run_id: Annotated[str, typer.Option("--run-id", help="A known id resumes that run.", metavar="ID")] = "",
    speed: Annotated[float | None, typer.Option(help="Trace seconds per second; -1 as fast as possible.")] = None,
    engine: Annotated[str | None, typer.Option(help="native or opendc.")] = None,
    calibration: Annotated[str | None, typer.Option(help="off, grid, bayesian or online.")] = None,
    optimize: Annotated[str | None, typer.Option(help="off, rules, bayesian, random, llm or tournament.")] = None,
    remote: Annotated[bool, typer.Option("--remote", help="Have `opendt up` or a worker run it.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Replay a trace through Kafka, simulate it window by window, calibrate, and land everything in the lake.

    Example: opendt run --trace data/traces/demo
    """
    overrides = {
        "engine.name": engine,
        "calibration.mode": calibration,
        "optimize.strategy": optimize,
        "stream.speed": speed,
    }
    given = {
        "trace": str(trace),
        "topology": str(topology or ""),
        "config": str(config or ""),
        "lake": str(lake or ""),
        "run_id": run_id,
        "overrides": {name: value for name, value in overrides.items() if value is not None},
    }
    if remote:
        _run_remote(given, as_json)
    else:
        _run(given, as_json)


@command
def demo(
    days: Annotated[int, typer.Option(min=1, max=31, help="Days of workload to generate.")] = 7,
    hosts: Annotated[int, typer.Option(min=1, max=5000, help="Hosts of the generated cluster.")] = 277,
    seed: Annotated[int, typer.Option(help="Seed of the generator.")] = 1,
    trace: Annotated[Path, _files("--trace", "Where to put the generated trace.")] = DEMO_TRACE,
    lake: LakeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the twin at work on a generated cluster: no downloads, no account, an embedded broker.

    Example: opendt demo --days 2 --hosts 50
    """
    from opendt.traces.synthetic.generate import make_trace
    from opendt.traces.synthetic.options import SyntheticOptions

    folder = trace / f"{days}d-{hosts}h-{seed}"
    if not folder.exists():  # a trace appears whole or not at all
        errors.print(f"generating {days} days of workload on {hosts} hosts (seed {seed}) in {folder}")
        make_trace(folder, SyntheticOptions(days=days, hosts=hosts, seed=seed))
    _run({"trace": str(folder), "lake": str(lake or "")}, as_json)


@command
def twin(
    kafka: Annotated[str, typer.Option(help="Brokers host:port,...; else KAFKA_BOOTSTRAP_SERVERS.")] = "",
    topology: Annotated[Path | None, _files("--topology", "Topology of the datacenter.")] = None,
    config: ConfigOption = None,
    lake: LakeOption = None,
    run_id: Annotated[str, typer.Option("--run-id", help="A known id resumes that run.", metavar="ID")] = "",
    max_windows: Annotated[int, typer.Option(min=0, help="Stop after so many windows; 0 for no limit.")] = 0,
    share: Annotated[
        list[str] | None,
        typer.Option(
            help="Share this datacenter with other twins of the run id, all started with the same list; repeat it.",
            metavar="DATACENTER[=TOPOLOGY]",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Follow a live datacenter: read its telemetry from Kafka, simulate and calibrate window by window.

    Example: opendt twin --kafka localhost:9092 --topology topology.json

    Example: opendt twin --run-id fleet --share north=north.json --share south=south.json
    """
    given = {
        "kafka": kafka,
        "topology": str(topology or ""),
        "config": str(config or ""),
        "lake": str(lake or ""),
        "run_id": run_id,
        "max_windows": max_windows,
        "share": {name: file for name, _, file in (text.partition("=") for text in share or ())},
    }
    if share:
        _tell_on_stderr()
    _run(given, as_json, live=True)


def _tell_on_stderr() -> None:
    """What a worker takes up and hands over, with the time: it runs for long, and beside others."""
    import logging

    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log = logging.getLogger("opendt.flows")
    log.addHandler(handler)
    log.setLevel(logging.INFO)


def _run_remote(given: dict[str, Any], as_json: bool) -> None:
    from flows.runtime import run_remote
    from opendt.errors import TerminalError

    parameters = _parameters(given)
    result = run_remote("pipeline/pipeline", parameters, parameters.settings().prefect, say=_say)
    if as_json:
        print_json(result)
    else:
        where = f" in {result['lake']}" if result["lake"] else ""
        text = f"{result['state']}: run {result['run_id']}{where}, {result['url']}"
        console.print(text, soft_wrap=True, markup=False)
    if result["state"].lower() != "completed":
        raise TerminalError(f"the run ended as {result['state']}: {result['message']}", **result)


def _say(text: str) -> None:
    errors.print(text, soft_wrap=True, markup=False)


def _parameters(given: dict[str, Any], *, live: bool = False) -> Any:
    from pydantic import ValidationError

    from flows.parameters import PipelineParameters, TwinParameters
    from opendt.errors import InputError
    from opendt.settings import sentence

    try:
        return (TwinParameters if live else PipelineParameters)(**given)
    except ValidationError as error:
        first = error.errors()[0]
        where = f"option --{'.'.join(map(str, first['loc'])).replace('_', '-')}: " if first["loc"] else ""
        raise InputError(f"{where}{sentence(first)}") from None


def _run(given: dict[str, Any], as_json: bool, *, live: bool = False) -> None:
    with _quiet_prefect():
        from flows.pipeline import pipeline
        from flows.progress import listening
        from flows.runtime import run_flow
        from flows.twin import twin as follow_live

        parameters = _parameters(given, live=live)
        with _progress(show=not as_json) as listen, listening(listen):
            flow: Any = follow_live if live else pipeline
            summary = run_flow(flow, parameters, parameters.settings().prefect)
    if isinstance(summary, list):
        _show_all([each.to_dict() for each in summary], as_json)
    elif as_json:
        print_json(summary.to_dict())
    else:
        print_summary(summary.to_dict())


def _show_all(summaries: list[dict[str, Any]], as_json: bool) -> None:
    """Totals of the datacenters whose streams ended with this process."""
    if as_json:
        print_json(summaries)
    for summary in summaries if not as_json else ():
        console.print(f"[bold]{summary['datacenter']}[/]")
        print_summary(summary)


@contextmanager
def _quiet_prefect() -> Iterator[None]:
    """Prefect's console logs would run through the progress bar; warnings still show, and the UI has everything."""
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "WARNING")
    yield


@contextmanager
def _progress(*, show: bool) -> Iterator[Callable[[Any], None]]:
    """A progress bar on stderr; a function that moves it."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("windows"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=errors, disable=not show or not sys.stderr.isatty()) as bar:
        line = bar.add_task("starting", total=None)

        def listen(step: Any) -> None:
            bar.update(line, completed=step.done, total=step.total or None, description=step.text)

        yield listen


def print_summary(summary: dict[str, Any]) -> None:
    """A run's totals for people, and what to try next."""
    from rich.table import Table

    def pct(value: float | None) -> str:
        return "no measurements" if value is None else f"{value:.2f} %"

    dropped = ", ".join(f"{count:,} {reason}" for reason, count in summary["dropped"].items()) or "none"
    rows = [
        ("run", f"{summary['run_id']} ({summary['state']})"),
        ("windows", f"{summary['windows']:,}" + _resumed(summary)),
        ("tasks", f"{summary['tasks_seen']:,} seen, {summary['tasks_run']:,} run, "
                  f"{summary['tasks_dropped']:,} dropped ({dropped})"),
        ("fragments", f"{summary['fragments']:,}"),
        ("energy", _energy(summary)),
        ("carbon", f"{summary['carbon_kg']:,.2f} kg CO2{_band(summary, 'carbon', 'kg')}"),
        ("peak power", f"{summary['peak_power_kw']:,.2f} kW"),
        ("error (MAPE)", f"{pct(summary['mape_pct'])} calibrated, {pct(summary['uncalibrated_mape_pct'])} as given"),
        ("persistence", f"{pct(summary['persistence_mape_pct'])} for holding the last value before each window"),
        ("rejected", f"{summary['late_records']:,} late, {summary['duplicate_records']:,} duplicate, "
                     f"{summary['dead_letters']:,} not understood"),
        ("proposals", f"{summary['proposals']:,}"),
        ("wall time", f"{summary['wall_s']:.1f} s ({_stages(summary)})"),
    ]  # fmt: skip
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    for name, text in rows:
        table.add_row(name, text)
    console.print(table)
    console.print("\nNext:")
    for hint in hints(summary["run_id"], summary["lake"]):
        console.print(f"  {hint}", soft_wrap=True, markup=False)


def hints(run_id: str, lake: str) -> list[str]:
    """Commands to try after a run, ready for a shell, each with a comment."""
    option = "" if lake == "data/lake" else f" --lake {shlex.quote(lake)}"
    query = f"select * from energy_by_hour where run_id = '{run_id}' order by hour limit 24"
    return [
        f'opendt sql "{query}"{option}   # results with SQL',
        f"opendt api{option}   # REST API and dashboard on http://127.0.0.1:8080",
        f"opendt up{option}   # Prefect UI on http://127.0.0.1:4200: start, schedule and watch runs",
    ]


def _resumed(summary: dict[str, Any]) -> str:
    again = summary["windows_recomputed"]
    return "" if again == summary["windows"] else f" ({again:,} in this process, the rest before)"


def _energy(summary: dict[str, Any]) -> str:
    measured = summary["energy_measured_kwh"]
    beside = "" if measured is None else f", measured {measured:,.1f} kWh"
    given = f"{summary['energy_uncalibrated_kwh']:,.1f} kWh with the topology as given"
    return f"{summary['energy_kwh']:,.1f} kWh{_band(summary, 'energy', 'kwh')}{beside}, {given}"


def _band(summary: dict[str, Any], name: str, unit: str) -> str:
    low, high = summary[f"{name}_low_{unit}"], summary[f"{name}_high_{unit}"]
    return "" if low is None else f" (90 %: {low:,.1f} to {high:,.1f})"


def _stages(summary: dict[str, Any]) -> str:
    return ", ".join(f"{name} {seconds:.1f}" for name, seconds in summary["stages_s"].items()) or "no stages"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(run)
    app.command()(demo)
    app.command()(twin)
