"""The loop of ``opendt sql --shell``: read a statement, run it, show it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from opendt.cli.common import console, errors
from opendt.errors import OpenDTError

if TYPE_CHECKING:
    from opendt.lake.people import ReadOnlySession

HELP = """Statements end with ; and may span lines.
.tables          tables and views
.describe NAME   columns of one
.exit            leave (also Ctrl-D)"""


def run_shell(session: ReadOnlySession, *, max_rows: int | None, timeout_s: float | None) -> None:
    """Ask for statements until ``.exit`` or the end of input; an error is shown and the next one asked for."""
    from opendt.cli.lake import show

    if sys.stdin.isatty():
        import readline  # noqa: F401  line editing and history for input()

        console.print("Read-only SQL on the lake; .help lists commands.")
    for text in _statements():
        try:
            result = session.run(text, max_rows=max_rows, timeout_s=timeout_s)
        except OpenDTError as error:
            errors.print(error.message, markup=False)
            continue
        except KeyboardInterrupt:
            session.cancel()
            errors.print("interrupted")
            continue
        show(result)
        console.print(f"{result.table.num_rows:,} rows{' (more were cut)' if result.truncated else ''}")


def _statements() -> Iterator[str]:
    """Statements as they are typed; dot commands become statements or are answered here."""
    pending = ""
    while True:
        try:
            line = input("" if not sys.stdin.isatty() else "   ...> " if pending else "opendt> ")
        except EOFError:
            if pending.strip():
                yield pending
            return
        word, _, rest = line.strip().partition(" ")
        if not pending and word.startswith("."):
            if word in (".exit", ".quit"):
                return
            if word == ".tables":
                yield "SHOW TABLES"
            elif word == ".describe" and rest:
                yield f"DESCRIBE {rest}"
            else:
                console.print(HELP, markup=False)
            continue
        pending += line + "\n"
        if line.rstrip().endswith(";"):
            yield pending
            pending = ""
