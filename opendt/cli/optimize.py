"""``opendt whatif`` and ``opendt optimize``: ask what a change would do, and what to change."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opendt.cli.common import ConfigOption, JsonOption, LakeOption, command, console, errors, print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opendt.optimize.sources import Source
    from opendt.settings import Settings, SloSettings

TraceOption = Annotated[Path | None, typer.Option("--trace", help="Folder of a trace.", metavar="DIR")]
RunOption = Annotated[str | None, typer.Option("--run", help="A run in the lake.", metavar="ID")]
TopologyOption = Annotated[
    Path | None, typer.Option("--topology", help="Topology instead of the trace's own.", metavar="FILE")
]
SloOption = Annotated[
    Path | None, typer.Option("--slo", help="JSON file of objectives for this question.", metavar="FILE")
]
FromOption = Annotated[
    str | None, typer.Option("--from", help="Only tasks submitted from this time on.", metavar="TIME")
]
UntilOption = Annotated[str | None, typer.Option("--until", help="Only work before this time.", metavar="TIME")]
EngineOption = Annotated[str | None, typer.Option("--engine", help="native or opendc.", metavar="ENGINE")]


@command
def whatif(
    trace: TraceOption = None,
    run: RunOption = None,
    change: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="A change, e.g. clusters[0].hosts[0].count=200; all of them together.", metavar="PATH=VALUE"
        ),
    ] = None,
    variant: Annotated[
        list[str] | None,
        typer.Option("--variant", help="A further variant: changes separated by ';'.", metavar="CHANGES"),
    ] = None,
    topology: TopologyOption = None,
    since: FromOption = None,
    until: UntilOption = None,
    slo: SloOption = None,
    engine: EngineOption = None,
    lake: LakeOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare changed topologies with the present one on the same work: energy, carbon, peak, runtime, queueing, SLOs.

    Example: opendt whatif --trace data/traces/demo --set "clusters[0].hosts[0].count=200"
    """
    from opendt.errors import InputError
    from opendt.optimize.whatif import parse_variant, run_whatif

    variants = [parse_variant(change)] if change else []
    variants += [parse_variant([p.strip() for p in text.split(";") if p.strip()], text) for text in variant or []]
    if not variants:
        raise InputError("nothing to compare: give --set PATH=VALUE, for example clusters[0].hosts[0].count=200.")
    settings = _settings(config, lake, engine)
    source = _source(settings, trace, run, topology, _period(since, until), slo)
    found = run_whatif(source.problem, variants).as_dict()
    if as_json:
        print_json(found)
        return
    _print_whatif(found)


@command
def optimize(
    trace: TraceOption = None,
    run: RunOption = None,
    strategy: Annotated[
        str | None, typer.Option("--strategy", help="rules, bayesian, random, llm or tournament.", metavar="NAME")
    ] = None,
    budget: Annotated[
        int | None, typer.Option("--budget", min=1, help="Simulations per strategy.", metavar="N")
    ] = None,
    topology: TopologyOption = None,
    since: FromOption = None,
    until: UntilOption = None,
    slo: SloOption = None,
    vary: Annotated[
        str | None,
        typer.Option("--vary", help="hosts,cores,speed,power_cap,allocation: what may change.", metavar="LIST"),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Seed of searches.")] = None,
    engine: EngineOption = None,
    lake: LakeOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look for a topology that meets the objectives with less energy; proposals land in the lake beside no-op.

    Example: opendt optimize --trace data/traces/demo --strategy tournament --budget 50
    """
    from opendt.lake import Lake
    from opendt.optimize.contest import contest_json, hold_contest, new_id, store_contest, wall_clock_ms

    overrides = {
        "optimize.strategy": strategy,
        "optimize.budget": budget,
        "optimize.vary": [part.strip() for part in vary.split(",")] if vary else None,
        "optimize.seed": seed,
    }
    settings = _settings(config, lake, engine, overrides)
    name = settings.optimize.strategy if settings.optimize.strategy != "off" else "rules"
    started_ms = wall_clock_ms()
    source = _source(settings, trace, run, topology, _period(since, until), slo)
    with console_status("simulating variants", show=not as_json):
        contest = hold_contest(source.problem, name, settings.optimize.budget, settings.llm)
    run_id = source.run_id or new_id()
    with Lake.open(settings.lake) as opened:
        rows = store_contest(settings, opened, source, contest, run_id, started_ms, wall_clock_ms())
    found = contest_json(contest, rows, run_id, name, settings.optimize.budget)
    if as_json:
        print_json(found)
        return
    _print_contest(found)


def console_status(text: str, *, show: bool) -> Any:
    """A spinner on stderr while something runs; nothing when it would disturb."""
    from contextlib import nullcontext

    return errors.status(text) if show and errors.is_terminal else nullcontext()


def _settings(
    config: Path | None, lake: Path | None, engine: str | None, overrides: dict[str, Any] | None = None
) -> Settings:
    from opendt.settings import load_settings

    return load_settings(config, {"lake.path": lake, "engine.name": engine, **(overrides or {})})


def _period(since: str | None, until: str | None) -> Any:
    from opendt.errors import InputError
    from opendt.optimize.sources import Period
    from opendt.units import parse_time_ms

    try:
        return Period(*(None if text is None else parse_time_ms(text) for text in (since, until)))
    except ValueError:
        raise InputError(
            f"--from {since} --until {until}: give ISO 8601 times like 2022-10-06T22:00:00Z, or epoch ms."
        ) from None


def _source(
    settings: Settings, trace: Path | None, run: str | None, topology: Path | None, period: Any, slo: Path | None
) -> Source:
    from contextlib import nullcontext

    from opendt.errors import InputError
    from opendt.lake import Lake
    from opendt.lake.connection import lake_exists
    from opendt.optimize.sources import from_run, from_trace, load_topology_option
    from opendt.traces import read_trace

    if trace is None and run is None:
        raise InputError("give --trace DIR or --run ID.")
    if run is not None and topology is not None:
        raise InputError("--run brings its own topology: give --topology with --trace only.")
    read = None if trace is None else read_trace(trace, topology=topology)
    targets = _slo(settings, slo)
    known = run is not None or lake_exists(settings.lake)
    with Lake.open(settings.lake, read_only=True) if known else nullcontext() as lake:
        if run is not None:
            assert lake is not None
            return from_run(settings, lake, run, targets, trace=read, period=period)
        assert read is not None
        own = load_topology_option(topology)
        return from_trace(settings, read, targets, topology=own, period=period, lake=lake)


def _slo(settings: Settings, path: Path | None) -> SloSettings:
    """The objectives of the file given, else those in force."""
    from opendt.optimize.slo import read_slo, slo_in_force
    from opendt.store import Store

    if path is not None:
        return read_slo(path)
    with Store.open(settings, read_only=True) as store:
        return slo_in_force(settings, store).slo


_UNITS = (
    ("energy_kwh", "energy [kWh]"), ("carbon_kg", "CO2 [kg]"), ("peak_power_kw", "peak [kW]"),
    ("runtime_h", "runtime [h]"), ("queue_delay_s", "mean wait [s]"), ("tasks_lost", "tasks lost"),
)  # fmt: skip


def _print_whatif(found: dict[str, Any]) -> None:
    base = found["baseline"]
    names = [f"variant {n + 1}" for n in range(len(found["variants"]))]
    columns = ["", "present", *names]
    rows = [[label, base[m], *(_beside(v, base, m) for v in found["variants"])] for m, label in _UNITS]
    rows.append(["SLOs met", _yes(base), *(_yes(v) for v in found["variants"])])
    workload = found["workload"]
    _wide(columns, rows, f"{workload['tasks']:,} tasks, {workload['fragments']:,} fragments")
    for name, variant in zip(names, found["variants"], strict=True):
        console.print(f"{name}: {_escaped(variant['name'])}: {_escaped(_verdict(variant))}")
    console.print(f"{found['wall_s']:.2f} s")


def _verdict(variant: dict[str, Any]) -> str:
    if variant["state"] == "failed":
        return f"cannot be simulated: {variant['reason']}"
    kept = variant["work_kept_ratio"]
    if kept is not None and kept < 0.999:
        return f"{variant['effect']}, but {100 * (1 - kept):.2f} % of the work is not done: hosts are overloaded"
    return str(variant["effect"])


# From a tenfold on the present value is next to nothing, and a share of it says little.
_LARGEST_CHANGE_PCT = 1_000.0


def _beside(variant: dict[str, Any], base: dict[str, Any], metric: str) -> str:
    if variant["state"] == "failed":
        return "-"
    value, change = variant[metric], variant["delta_pct"][metric]
    if change and abs(change) >= _LARGEST_CHANGE_PCT:
        return f"{value:,.4g} ({value - base[metric]:+,.4g})"
    return f"{value:,.4g}" + (f" ({change:+.1f} %)" if change else "")


def _yes(row: dict[str, Any]) -> str:
    if row.get("state") == "failed":
        return "-"
    if not row["slos"]:
        return "none set"
    missed = [s["metric"] for s in row["slos"] if not s["met"]]
    return "yes" if row["meets_slos"] else f"no ({', '.join(missed) or 'work lost'})"


def _print_contest(found: dict[str, Any]) -> None:
    base = found["baseline"]
    _wide(
        (
            "strategy", "energy [kWh]", "saving [%]", "runtime [h]", "SLOs met", "score", "simulations", "time [s]",
            "proposal",
        ),
        [
            (
                row["strategy"], row["energy_kwh"], row["saving_pct"], row["runtime_h"],
                "yes" if row["meets_slos"] else "no", row["score"], row["simulations"], row["duration_s"],
                row["proposal_id"],
            )
            for row in found["strategies"]
        ],
        f"present topology: {base['energy_kwh']:,.1f} kWh, {base['hosts']} hosts, {base['runtime_h']:.2f} h",
    )  # fmt: skip
    for row in found["strategies"]:
        if row["fallback_reason"]:
            console.print(f"{row['strategy']}: the rules stood in ({_escaped(row['fallback_reason'])})")
    best = found["strategies"][0]
    console.print(f"best: {best['strategy']}, {best['effect']}; {_escaped('; '.join(best['reasons']))}")
    if best["changes"]:
        console.print(f"next: opendt approve {best['proposal_id']}")


def _wide(columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str) -> None:
    """A table that squeezes no number, with numbers at four digits."""
    from opendt.cli.wide import show_rows

    console.print(title)
    show_rows(columns, [[f"{v:,.4g}" if isinstance(v, float) else v for v in row] for row in rows])


def _escaped(text: Any) -> str:
    return str(text).replace("[", r"\[")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(whatif)
    app.command()(optimize)
