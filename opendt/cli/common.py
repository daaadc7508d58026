"""What every command shares: errors as one line, exit codes, JSON and tables."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from opendt.errors import OpenDTError

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)

LakeOption = Annotated[Path | None, typer.Option("--lake", help="Folder of the lake.", metavar="DIR")]
ConfigOption = Annotated[Path | None, typer.Option("--config", help="YAML file with settings.", metavar="FILE")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def to_json(value: Any) -> str:
    """JSON text of plain values, NumPy scalars and arrays, paths and datetimes."""
    options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS
    return orjson.dumps(value, default=str, option=options).decode()


def print_json(value: Any) -> None:
    """Print a value as JSON on stdout."""
    sys.stdout.write(to_json(value) + "\n")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str | None = None) -> None:
    """Print rows as a table."""
    table = Table(title=title, title_justify="left", header_style="bold")
    for name in columns:
        table.add_column(name)
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    console.print(table)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,.5g}" if isinstance(value, float) else escape(str(value))


def command(function: Callable[..., Any]) -> Callable[..., Any]:
    """Turn an ``OpenDTError`` into one line on stderr and its exit code; tracebacks only with OPENDT_DEBUG=1."""

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except OpenDTError as error:
            if os.environ.get("OPENDT_DEBUG"):
                raise
            errors.print(f"[bold red]error:[/] {escape(error.message)}", soft_wrap=True)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            errors.print("interrupted")
            raise typer.Exit(130) from None

    return run
