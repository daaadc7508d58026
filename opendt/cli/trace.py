"""``opendt trace``: look at, generate, fetch and convert traces."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from opendt.cli.common import ConfigOption, JsonOption, command, console, print_json, print_table

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
        _say(f"[yellow]note:[/] {warning}")


@trace_app.command("fetch")
@command
def fetch(
    name: Annotated[str, typer.Argument(help="Name of a public trace: surf, bitbrains-small.")],
    dest: Annotated[Path | None, typer.Option("--dest", help="Folder to create.", metavar="DIR")] = None,
    base_url: Annotated[
        str | None, typer.Option("--base-url", help="Server instead of the one in the settings.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Download a public trace at a pinned commit and verify it; continues an interrupted download."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    from opendt.cli.common import errors
    from opendt.settings import load_settings
    from opendt.traces.fetch import fetch_trace
    from opendt.traces.sources import find_source

    settings = load_settings(config, {"traces.base_url": base_url}).traces
    source = find_source(name)
    bars: dict[str, Any] = {}
    columns = (TextColumn("{task.description:<20}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=errors, transient=True) as shown:

        def advance(file: str, done: int, total: int) -> None:
            if file not in bars:
                bars[file] = shown.add_task(file, total=total)
            shown.update(bars[file], completed=done)

        fetched = fetch_trace(
            source, dest or settings.folder / name, base_url=settings.base_url, timeout_s=settings.timeout_s,
            attempts=settings.attempts, progress=advance,
        )  # fmt: skip
    if as_json:
        print_json(asdict(fetched))
        return
    what = f"{fetched.downloaded_bytes:,} bytes fetched" if fetched.downloaded_bytes else "already there"
    _say(f"{fetched.path}: {fetched.files} files verified, {what}")
    _next("opendt trace info", fetched.path)


@trace_app.command("make")
@command
def make(
    folder: Annotated[Path, typer.Argument(help="Folder to create.", metavar="DIR")],
    days: Annotated[float, typer.Option(help="Length [days].")] = 7.0,
    hosts: Annotated[int, typer.Option(help="Number of hosts.")] = 277,
    seed: Annotated[int, typer.Option(help="Seed of every random choice; the same seed gives the same bytes.")] = 0,
    cores: Annotated[int, typer.Option(help="Cores of a host.")] = 16,
    interval: Annotated[int, typer.Option(help="Length of fragments and spacing of power samples [s].")] = 30,
    curve: Annotated[
        str, typer.Option(help="Hidden power curve: active, step, piecewise or any of OpenDC's.")
    ] = "active",
    noise_pct: Annotated[float, typer.Option(help="Noise of the power meter [%].")] = 0.5,
    drift_at_hour: Annotated[float | None, typer.Option(help="Hour at which the hidden curve changes.")] = None,
    drift_pct: Annotated[float, typer.Option(help="Change of power from that hour on [%].")] = 5.0,
    gaps: Annotated[int, typer.Option(help="Periods of 5 to 60 minutes without power samples.")] = 0,
    host_types: Annotated[int, typer.Option(help="Number of host types.")] = 1,
    tasks_per_day: Annotated[
        float | None, typer.Option(help="Tasks submitted per day; by default as many per host as in the SURF week.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a folder that is not empty.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Generate a synthetic cluster recording: workload, measured power from a hidden curve, carbon, topology."""
    from opendt.traces.synthetic import SyntheticOptions, make_trace

    options = SyntheticOptions(
        days=days, hosts=hosts, seed=seed, cores=cores, interval_s=interval, curve=curve, noise_pct=noise_pct,
        drift_at_hour=drift_at_hour, drift_pct=drift_pct if drift_at_hour is not None else 0.0, gaps=gaps,
        host_types=host_types, tasks_per_day=tasks_per_day,
    )  # fmt: skip
    made = make_trace(folder, options, force=force)
    if as_json:
        print_json(asdict(made))
        return
    _say(
        f"{made.path}: {made.tasks:,} tasks ({made.tasks_run:,} will run), {made.fragments:,} fragments, "
        f"{made.power_samples:,} power samples, {made.energy_kwh:,.1f} kWh"
    )
    _next("opendt run --trace", made.path)


@trace_app.command("convert")
@command
def convert(
    source: Annotated[
        Path, typer.Argument(help="SWF file, folder of Bitbrains CSV files, or trace folder.", metavar="SRC")
    ],
    dest: Annotated[Path, typer.Argument(help="Trace folder to create.", metavar="DEST")],
    kind: Annotated[
        str, typer.Option("--from", help="Format of SRC: swf, gwa-bitbrains, or opendc to write a trace again.")
    ],
    core_speed: Annotated[float, typer.Option(help="Speed of a core [MHz], for swf.")] = 2100.0,
    cores_per_host: Annotated[
        int | None, typer.Option(help="Split jobs into tasks of at most this many cores, for swf.")
    ] = None,
    skip_invalid: Annotated[bool, typer.Option("--skip-invalid", help="Drop and count bad lines or rows.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a folder that is not empty.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Convert another format into a trace folder, and report what was dropped or assumed.

    Example: opendt trace convert data/traces/mine data/traces/clean --from opendc --skip-invalid
    """
    from opendt.errors import InputError
    from opendt.traces.convert import SwfOptions, convert_trace, read_bitbrains, read_swf
    from opendt.traces.convert.opendc import clean_trace

    swf = SwfOptions(core_speed, cores_per_host)
    readers = {
        "swf": lambda check: read_swf(source, check, swf),
        "gwa-bitbrains": lambda check: read_bitbrains(source, check),
    }
    if kind == "opendc":
        converted = clean_trace(source, dest, skip_invalid=skip_invalid, force=force)
    elif kind in readers:
        converted = convert_trace(readers[kind], dest, skip_invalid=skip_invalid, force=force)
    else:
        raise InputError(f"--from is {kind!r}; must be one of {', '.join(readers)}, opendc.")
    if as_json:
        print_json(asdict(converted))
        return
    _say(
        f"{converted.path}: {converted.tasks:,} tasks ({converted.tasks_run:,} will run), "
        f"{converted.fragments:,} fragments"
    )
    for what, count in {**converted.dropped, **converted.notes}.items():
        _say(f"[yellow]note:[/] {count:,} x {what}")
    _next("opendt trace info", converted.path)


def _say(text: str) -> None:
    console.print(text, soft_wrap=True)  # paths and commands must survive copying


def _next(command: str, folder: Path) -> None:
    console.print(f"next: {command} {shlex.quote(str(folder))}", soft_wrap=True, markup=False)


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
