"""``opendt sql``, ``opendt runs`` and ``opendt lake``: read the lake and keep it tidy."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opendt.cli.common import (
    ConfigOption,
    JsonOption,
    LakeOption,
    command,
    console,
    errors,
    print_json,
    print_table,
)
from opendt.cli.wide import show_rows

if TYPE_CHECKING:
    from opendt.lake.people import ReadOnlySession, SqlResult
    from opendt.settings import LakeSettings

lake_app = typer.Typer(no_args_is_help=True, help="Inspect and maintain the lake.")


@command
def sql(
    statement: Annotated[
        str | None, typer.Argument(help="One SELECT statement; - reads it from standard input.")
    ] = None,
    lake: LakeOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    shell: Annotated[bool, typer.Option("--shell", help="Ask for statements until .exit.")] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Most rows; lake.sql_max_rows by default.")
    ] = None,
    timeout: Annotated[float | None, typer.Option("--timeout", min=0.001, help="Longest time [s].")] = None,
    as_of: Annotated[
        str | None, typer.Option("--as-of", help="Snapshot number or time whose state to show.", metavar="WHEN")
    ] = None,
) -> None:
    """Query the lake with SQL, read-only. `opendt sql "show tables"` lists what there is."""
    from opendt.cli.sql_shell import run_shell
    from opendt.errors import InputError
    from opendt.lake.people import ReadOnlySession

    if bool(statement) == shell:
        raise InputError('give a statement, e.g. `opendt sql "from latest_run"`, or --shell; not both.')
    if as_json and as_csv:
        raise InputError("give --json or --csv, not both.")
    with ReadOnlySession(_settings(lake, config), as_of=_moment(as_of)) as session:
        if shell:
            run_shell(session, max_rows=limit, timeout_s=timeout)
            return
        text = sys.stdin.read() if statement == "-" else str(statement)
        result = _run(session, text, limit, timeout)
    if as_json:
        from opendt.lake.plain import plain_rows

        print_json(plain_rows(result.table))
    elif as_csv:
        from opendt.lake.plain import to_csv

        sys.stdout.write(to_csv(result.table))
    else:
        show(result)
    if result.truncated:
        errors.print(f"only the first {result.table.num_rows:,} rows are shown; ask for more with --limit.")


def _moment(text: str | None) -> Any:
    """A snapshot number or an aware time."""
    from opendt.errors import InputError
    from opendt.units import ms_to_datetime, parse_time_ms

    if text is None or text.isdecimal():
        return None if text is None else int(text)
    try:
        return ms_to_datetime(parse_time_ms(text))
    except ValueError:
        raise InputError(f"--as-of {text}: give a snapshot number or a time like 2026-01-31T12:00:00Z.") from None


def _run(session: ReadOnlySession, text: str, limit: int | None, timeout: float | None) -> SqlResult:
    try:
        return session.run(text, max_rows=limit, timeout_s=timeout)
    except KeyboardInterrupt:
        session.cancel()
        raise


def show(result: SqlResult) -> None:
    """Print rows as a table for people."""
    from opendt.lake.plain import plain_rows

    show_rows(result.table.column_names, [tuple(row.values()) for row in plain_rows(result.table)])


@command
def runs(
    lake: LakeOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Most runs, newest first.")] = 50,
) -> None:
    """List runs, newest first."""
    from opendt.lake import Lake
    from opendt.lake.plain import plain_rows
    from opendt.lake.queries import RUNS

    with Lake.open(_settings(lake, config), read_only=True) as opened:
        rows = plain_rows(opened.query(RUNS + " ORDER BY started DESC, run_id DESC LIMIT ?", [limit]))
    if as_json:
        print_json(rows)
        return
    columns = (
        "run_id",
        "datacenter",
        "kind",
        "state",
        "started",
        "trace",
        "windows",
        "energy_kwh",
        "mape_pct",
        "reason",
    )
    show_rows(columns, [[row[name] for name in columns] for row in rows])


@lake_app.command()
@command
def info(lake: LakeOption = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show where the lake is, what it holds and how large it is."""
    from opendt.lake import Lake
    from opendt.lake.info import lake_info

    settings = _settings(lake, config)
    with Lake.open(settings, read_only=True) as opened:
        found = lake_info(opened)
    if as_json:
        print_json(found)
        return
    for name in ("catalog", "data_path", "snapshot", "snapshots", "oldest_snapshot", "newest_snapshot", "runs"):
        console.print(f"{name:16} {found[name]}")
    columns = ("table", "rows", "files", "bytes")
    print_table(columns, [[table[name] for name in columns] for table in found["tables"]])


@lake_app.command()
@command
def snapshots(
    lake: LakeOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Most snapshots, newest first.")] = 20,
) -> None:
    """List snapshots: what `opendt sql --as-of` can go back to."""
    from opendt.lake import Lake
    from opendt.lake.info import list_snapshots

    with Lake.open(_settings(lake, config), read_only=True) as opened:
        rows = list_snapshots(opened, limit)
    if as_json:
        print_json(rows)
        return
    show_rows(("snapshot", "time", "changes"), [tuple(row.values()) for row in rows])


@lake_app.command()
@command
def maintain(
    lake: LakeOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    keep_days: Annotated[
        float | None, typer.Option("--keep-days", min=0.0, help="Age at which snapshots are forgotten [days].")
    ] = None,
) -> None:
    """Merge small files, forget old snapshots, delete files nobody needs."""
    from opendt.lake import Lake
    from opendt.lake.connection import require_lake

    settings = _settings(lake, config)
    require_lake(settings)
    with Lake.open(settings) as opened:
        report = opened.maintain(keep_days=keep_days)
    if as_json:
        print_json(report.as_dict())
        return
    console.print(
        f"{report.files_before} files became {report.files_after}, {report.bytes_before:,} bytes became "
        f"{report.bytes_after:,}; {report.snapshots_expired} snapshots forgotten, {report.files_deleted} files deleted "
        f"in {report.wall_s:.1f} s."
    )


@lake_app.command("attach-command")
@command
def attach_command(lake: LakeOption = None, config: ConfigOption = None) -> None:
    """Print the lines that open the lake, read-only, in any DuckDB client."""
    from opendt.lake.connection import attach_sql, require_lake

    settings = _settings(lake, config)
    require_lake(settings)
    backend = "postgres" if settings.catalog else "sqlite"
    sys.stdout.write(f"INSTALL ducklake; INSTALL {backend}; LOAD ducklake; LOAD {backend};\n")
    sys.stdout.write(attach_sql(settings, read_only=True) + ";\nUSE lake;\n")


def _settings(lake: Any, config: Any) -> LakeSettings:
    from opendt.settings import load_settings

    return load_settings(config, {"lake.path": lake}).lake


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(sql)
    app.command()(runs)
    app.add_typer(lake_app, name="lake")
