"""``opendt proposals``, ``approve``, ``reject``, ``slo`` and ``topology``: what people decide."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opendt.cli.common import ConfigOption, JsonOption, LakeOption, command, console, print_json, print_table

if TYPE_CHECKING:
    from opendt.optimize.decisions import Activation, Desk
    from opendt.settings import Settings

slo_app = typer.Typer(no_args_is_help=True, help="Service level objectives: show, set, history.")
topology_app = typer.Typer(no_args_is_help=True, help="The topology in force: show, history, rollback, publish.")

ByOption = Annotated[str | None, typer.Option("--by", help="Who decides; your user name by default.", metavar="NAME")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why.", metavar="TEXT")]
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="A proposal, see `opendt proposals`.")]


@command
def proposals(
    proposal: Annotated[str | None, typer.Argument(metavar="ID", help="Show one proposal in full.")] = None,
    run: Annotated[str | None, typer.Option("--run", help="Only of this run.", metavar="ID")] = None,
    state: Annotated[
        str | None, typer.Option("--state", help="pending, approved, applied ...", metavar="STATE")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="Most rows.")] = 20,
    lake: LakeOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List proposals, newest first, or show one."""
    from opendt.lake import Lake
    from opendt.optimize.decisions import get_proposal, list_proposals, unpacked

    settings = _settings(config, lake)
    with Lake.open(settings.lake, read_only=True) as opened:
        if proposal:
            rows = [get_proposal(opened, settings.datacenter, proposal)]
        else:
            rows = list_proposals(opened, settings.datacenter, run_id=run, state=state, limit=limit)
    found = [unpacked(row) for row in rows]
    if as_json:
        print_json(found[0] if proposal else found)
    elif proposal:
        _print_one(found[0])
    else:
        _print_list(found)


@command
def approve(
    proposal: IdArgument,
    reason: ReasonOption = "",
    by: ByOption = None,
    force: Annotated[
        bool, typer.Option("--force", help="Although another topology came into force since it was made.")
    ] = False,
    lake: LakeOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a proposal's topology in force; twins use it from their next window on."""
    from opendt.optimize import decisions

    with _desk(config, lake) as desk:
        found = decisions.approve(desk, proposal, decided_by=by or _user(), reason=reason, force=force)
    _report(found, f"{proposal} approved", as_json)


@command
def reject(
    proposal: IdArgument,
    reason: ReasonOption = "",
    by: ByOption = None,
    lake: LakeOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Turn a proposal down."""
    from dataclasses import asdict

    from opendt.optimize import decisions

    with _desk(config, lake) as desk:
        decision = decisions.reject(desk, proposal, decided_by=by or _user(), reason=reason)
    if as_json:
        print_json(asdict(decision))
    else:
        console.print(f"{proposal} rejected")


@command
def show_slo(lake: LakeOption = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """The objectives in force."""
    from opendt.optimize.slo import slo_in_force
    from opendt.store import Store

    settings = _settings(config, lake)
    with Store.open(settings, read_only=True) as store:
        found = slo_in_force(settings, store)
    values = found.slo.model_dump(mode="json")
    if as_json:
        print_json({"version": found.version, "source": found.source, "slo": values})
        return
    print_table(("objective", "value"), list(values.items()), f"version {found.version}, from {found.source}")


@command
def set_slo(
    targets: Annotated[
        list[str] | None, typer.Argument(metavar="NAME=VALUE...", help="e.g. energy_kwh=400; null leaves one out.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="A JSON file with all objectives.", metavar="FILE")
    ] = None,
    lake: LakeOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Set objectives; they hold from the next window on. Those not named stay."""
    from opendt.errors import InputError
    from opendt.lake import Lake
    from opendt.optimize.changes import parse_value
    from opendt.optimize.objective import parse_slo
    from opendt.optimize.slo import read_slo, slo_in_force
    from opendt.optimize.slo import set_slo as put
    from opendt.store import Store, copy_events

    if bool(targets) == bool(file):
        raise InputError("give NAME=VALUE pairs, for example energy_kwh=400, or --file FILE.")
    settings = _settings(config, lake)
    with Store.open(settings) as store, Lake.open(settings.lake) as opened:
        if file is not None:
            slo = read_slo(file)
        else:
            given = dict(_pair(text) for text in targets or [])
            values = slo_in_force(settings, store).slo.model_dump(mode="json")
            slo = parse_slo(values | {name: parse_value(value) for name, value in given.items()}, "opendt slo set")
        version = put(settings, store, slo, "cli")
        copy_events(store, opened)
    if as_json:
        print_json({"version": version.version, "source": version.source, "slo": version.slo.model_dump(mode="json")})
    else:
        console.print(f"objectives are version {version.version} now")


@command
def slo_history(lake: LakeOption = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Every version of the objectives, newest first."""
    from opendt.store import Store
    from opendt.units import iso

    settings = _settings(config, lake)
    with Store.open(settings, read_only=True) as store:
        rows = [
            {
                "version": v.version,
                "source": v.source,
                "created": iso(v.created_ms),
                "slo": v.slo.model_dump(mode="json"),
            }
            for v in store.slo_history(settings.datacenter)
        ]
    if as_json:
        print_json(rows)
    else:
        print_table(("version", "source", "created", "slo"), [list(row.values()) for row in rows])


@command
def show_topology(lake: LakeOption = None, config: ConfigOption = None) -> None:
    """Print the topology in force as JSON, in OpenDC's format."""
    from opendt.errors import InputError
    from opendt.store import Store

    settings = _settings(config, lake)
    with Store.open(settings, read_only=True) as store:
        active = store.active_topology(settings.datacenter)
    if active is None:
        raise InputError(
            f"datacenter {settings.datacenter} has no topology put in force; runs use that of their trace."
        )
    typer.echo(active.topology.to_json().decode())


@command
def topology_history(
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="Most rows.")] = 20,
    lake: LakeOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Every topology that was put in force, newest first."""
    from opendt.store import Store

    settings = _settings(config, lake)
    with Store.open(settings, read_only=True) as store:
        rows = [_activation(a) for a in store.topology_history(settings.datacenter, limit=limit)]
    if as_json:
        print_json(rows)
        return
    names = ("number", "version", "hosts", "source", "decided_by", "activated", "reason")
    print_table(names, [[row[name] for name in names] for row in rows])


@command
def rollback(
    version: Annotated[str | None, typer.Argument(metavar="VERSION", help="Which; the one before by default.")] = None,
    reason: ReasonOption = "",
    by: ByOption = None,
    lake: LakeOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put an earlier topology in force again, exactly as it was."""
    from opendt.optimize import decisions

    with _desk(config, lake) as desk:
        found = decisions.rollback(desk, decided_by=by or _user(), version=version, reason=reason)
    _report(found, f"topology {found.active.version} is in force again", as_json)


@command
def publish(lake: LakeOption = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Announce the topology in force to running twins once more."""
    from opendt.optimize import decisions

    with _desk(config, lake) as desk:
        found = decisions.publish_active(desk)
    _report(found, f"topology {found.active.version}", as_json)


@contextmanager
def _desk(config: Path | None, lake: Path | None) -> Iterator[Desk]:
    from opendt.lake import Lake
    from opendt.optimize.decisions import Desk
    from opendt.store import Store

    settings = _settings(config, lake)
    with Store.open(settings) as store, Lake.open(settings.lake) as opened:
        yield Desk.of(settings, store, opened)


def _settings(config: Path | None, lake: Path | None) -> Settings:
    from opendt.settings import load_settings

    return load_settings(config, {"lake.path": lake})


def _user() -> str:
    """Who runs the command; a service account may have no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "cli"


def _pair(text: str) -> tuple[str, str]:
    from opendt.errors import InputError

    name, sign, value = text.partition("=")
    if not sign or not name or not value:
        raise InputError(f"'{text}': must be NAME=VALUE, for example energy_kwh=400.")
    return name, value


def _activation(active: Any) -> dict[str, Any]:
    from opendt.units import iso

    return {
        "number": active.number, "version": active.version, "hosts": active.topology.host_count,
        "source": active.source, "run_id": active.run_id, "proposal_id": active.proposal_id,
        "decided_by": active.decided_by, "reason": active.reason, "activated": iso(active.activated_ms),
    }  # fmt: skip


def _report(found: Activation, said: str, as_json: bool) -> None:
    if as_json:
        print_json(_activation(found.active) | {"published": found.published})
        return
    heard = "published: twins use it from their next window on"
    silent = "not published: no broker is configured (KAFKA_BOOTSTRAP_SERVERS)"
    console.print(f"{said}; {heard if found.published else silent}")


def _print_list(rows: list[dict[str, Any]]) -> None:
    from opendt.cli.wide import show_rows

    show_rows(
        ("proposal", "strategy", "state", "effect", "SLOs met", "run"),
        [
            (
                row["proposal_id"], row["strategy"], row["state"], row["details"].get("effect", "not simulated"),
                {True: "yes", False: "no"}.get(row["details"].get("meets_slos"), ""), row["run_id"],
            )
            for row in rows
        ],
    )  # fmt: skip


def _print_one(row: dict[str, Any]) -> None:
    shown = (
        "proposal_id", "run_id", "strategy", "state", "fallback_reason", "baseline_energy_kwh", "energy_kwh",
        "energy_low_kwh", "energy_high_kwh", "baseline_runtime_h", "runtime_h", "carbon_kg", "peak_power_kw",
        "queue_delay_s", "baseline_score", "score", "simulations", "duration_s",
    )  # fmt: skip
    print_table(("", ""), [(name, row[name]) for name in shown if row[name] is not None])
    for change, value in row["changes"].items():
        console.print(f"change {change} = {value}", markup=False)
    for reason in row["reasons"]:
        console.print(f"reason {reason}", markup=False)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for function in (proposals, approve, reject):
        app.command()(function)
    for name, function in (("show", show_slo), ("set", set_slo), ("history", slo_history)):
        slo_app.command(name)(function)
    for name, function in (
        ("show", show_topology), ("history", topology_history), ("rollback", rollback), ("publish", publish),
    ):  # fmt: skip
        topology_app.command(name)(function)
    app.add_typer(slo_app, name="slo")
    app.add_typer(topology_app, name="topology")
