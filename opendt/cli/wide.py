"""Tables of any width: side by side where they fit, one value a line where they do not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from opendt.cli.common import console

# Rows shown one value a line; more are shown as a table that runs beyond the terminal.
VERTICAL_ROWS = 20


def show_rows(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows without dropping or squeezing a value."""
    texts = [[_text(value) for value in row] for row in rows]
    widths = [max([len(name), *(len(row[n]) for row in texts)]) for n, name in enumerate(columns)]
    needed = sum(widths) + 3 * len(columns) + 1
    if console.is_terminal and needed > console.width and len(rows) <= VERTICAL_ROWS:
        _print_vertical(columns, texts)
        return
    table = Table(*columns, header_style="bold")
    for row in texts:
        table.add_row(*(cell.replace("[", r"\[") for cell in row))
    Console(highlight=False, width=max(needed, console.width), file=console.file).print(table, soft_wrap=True)


def _print_vertical(columns: Sequence[str], texts: Sequence[Sequence[str]]) -> None:
    longest = max(map(len, columns))
    for number, row in enumerate(texts, 1):
        console.print(f"row {number}", style="bold")
        for name, text in zip(columns, row, strict=True):
            console.print(f"  {name:{longest}}  {text}", markup=False, soft_wrap=True)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,.6g}" if isinstance(value, float) else str(value)
