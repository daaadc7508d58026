"""What converters share: lines with problems, counts, and writing the result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from opendt.errors import TraceError
from opendt.models.workload import Workload
from opendt.traces.writer import new_folder, write_workload


class LineProblem(Exception):
    """A line that cannot be used: column and what is wrong with it."""

    def __init__(self, column: str, text: str, reason: str) -> None:
        super().__init__(text)
        self.column = column
        self.text = text
        self.reason = reason


@dataclass
class LineCheck:
    """Raises at the first bad line, or counts it; counts also what was repaired on the way."""

    skip_invalid: bool
    dropped: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)

    def problem(self, file: str, line: int, problem: LineProblem) -> None:
        """Handle a bad line; ``line`` counts from 1, as editors do."""
        if not self.skip_invalid:
            raise TraceError(
                f"{file} line {line}: {problem.column} {problem.text}. Fix the file or drop the line with "
                "--skip-invalid.",
                file=file, line=line, column=problem.column,
            ) from None  # fmt: skip
        self.dropped[problem.reason] += 1


@dataclass(frozen=True, slots=True)
class Converted:
    """What a conversion made, dropped and noted."""

    path: Path
    tasks: int
    tasks_run: int
    fragments: int
    dropped: dict[str, int]
    notes: dict[str, int]


def convert_trace(
    read: Callable[[LineCheck], Workload], dest: Path, *, skip_invalid: bool = False, force: bool = False
) -> Converted:
    """Write what ``read`` returns as a trace folder that appears whole or not at all.

    Raises ``TraceError`` for bad lines (with ``skip_invalid`` only when nothing is left) and unusable folders.
    """
    check = LineCheck(skip_invalid)
    with new_folder(dest, force) as folder:
        workload = read(check)
        write_workload(folder, workload)
    return Converted(
        dest,
        len(workload.tasks),
        int(workload.runnable.sum()),
        len(workload.fragments),
        dict(check.dropped),
        dict(check.notes),
    )


def number(text: str, column: str, low: float | None = 0.0) -> float:
    """A finite number not below ``low``; raises ``LineProblem``."""
    try:
        value = float(text)
    except ValueError:
        raise LineProblem(column, f"is {text!r}; must be a number", f"{column} not a number") from None
    if value != value or value in (float("inf"), float("-inf")):
        raise LineProblem(column, f"is {text}; must be a finite number", f"{column} not finite")
    if low is not None and value < low:
        raise LineProblem(column, f"is {text}; must be at least {low:g}", f"{column} negative")
    return value
