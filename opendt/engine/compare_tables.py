"""Comparing one result table with OpenDC's: which columns, and within which bounds.

Rows are matched by (timestamp, entity), rows of the same key by their order. Deviations are relative to the expected
value, with a floor of 0.01 below which values count as equal to their floor; for exact columns the deviation is the
number of rows that differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

SAMPLE_BOUND = 1e-4  # power, demand and usage per sample, relative
TOTAL_BOUND = 1e-5  # energy and emission in total, relative
STRICT_BOUND = 1e-6  # every number of a strict comparison, relative: rounding to float32 and nothing else
_NULL = np.iinfo(np.int64).min  # stands for null in decoded integer columns
_FLOOR = 0.01  # in the column's unit; 1e-4 of it is the smallest difference that counts


@dataclass(frozen=True, slots=True)
class TableRule:
    """A table: names, keys, and its columns by kind of comparison.

    ``exact`` must be equal in every row, ``sample`` within 1e-4 in every row, ``total`` within 1e-5 in the sum per
    entity. ``stale`` columns are compared like ``sample`` except in the rows of SEMANTICS 5.6. Others are reported,
    not bounded.
    """

    name: str
    file: str
    attribute: str
    entity: str | None
    exact: tuple[str, ...] = ()
    sample: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    total: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    optional: bool = False


TABLES: tuple[TableRule, ...] = (
    TableRule(
        "powerSource", "powerSource.parquet", "power_source", "source_name",
        exact=("timestamp_absolute", "cluster_name"), sample=("power_draw", "carbon_intensity"),
        total=("energy_usage", "carbon_emission"),
    ),
    TableRule(
        "host", "host.parquet", "host", "host_name",
        exact=("timestamp_absolute", "cluster_name", "core_count", "mem_capacity", "tasks_running"),
        sample=("power_draw", "cpu_capacity", "cpu_demand"), stale=("cpu_usage",), total=("energy_usage",),
    ),
    TableRule(
        "task", "task.parquet", "task", "task_id",
        exact=("timestamp_absolute", "task_state", "host_name", "schedule_time", "submission_time", "finish_time",
               "mem_capacity", "cpu_count"),
        sample=("cpu_demand",), stale=("cpu_usage",),
        ignored=("task_name", "cpu_time_idle"),  # names are the reader's; cpu_time_idle has no meaning (SEMANTICS 9)
    ),
    TableRule(
        "service", "service.parquet", "service", None,
        exact=("timestamp_absolute", "hosts_up", "hosts_down", "tasks_total", "tasks_pending", "tasks_active",
               "tasks_completed", "tasks_terminated"),
    ),
    TableRule(
        "battery", "battery.parquet", "battery", "battery_name", exact=("battery_state",),
        sample=("power_draw", "charge", "capacity"), total=("energy_usage",), optional=True,
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finding:
    """The largest deviation of a column: relative, or rows that differ for exact columns. ``bound`` None: reported."""

    name: str
    deviation: float
    bound: float | None


def compare_table(
    rule: TableRule, expected: pa.Table, actual: pa.Table, stale: set[tuple[int, str]], *, strict: bool = False
) -> tuple[list[Finding], list[str]]:
    """(findings, broken bounds in words) of one table; ``stale`` holds (timestamp, host) of rows of quirk 5.6.

    A ``strict`` comparison bounds every column but the ignored ones: numbers with a fraction to float32 precision, all
    else exactly.
    """
    unusable = _unusable(rule, expected)
    if unusable:
        return [], unusable
    if len(expected) != len(actual):
        return [], [f"{rule.name}: {len(actual)} rows, expected {len(expected)}{_first_odd(rule, expected, actual)}"]
    want, have = _sorted(rule, expected), _sorted(rule, actual)
    for key in _keys(rule):
        if not np.array_equal(want.column(key), have.column(key)):
            return [], [f"{rule.name}: other {key}s than expected{_first_odd(rule, expected, actual)}"]
    findings: list[Finding] = []
    why: list[str] = []
    for column in expected.column_names:
        if column in _keys(rule) or column in rule.ignored:
            continue
        if column not in actual.column_names:
            if strict or column in _bounded(rule):
                why.append(f"{rule.name}.{column}: the engine gave no such column")
            continue
        _compare_column(rule, column, want, have, stale, findings, why, strict)
    return findings, why


def _unusable(rule: TableRule, expected: pa.Table) -> list[str]:
    """What makes a recorded table useless, in words: key columns that are absent, numbers that are text."""
    found = expected.column_names
    said = [
        f"{rule.file}: column {key} is missing (found: {', '.join(found)}). Rows cannot be told apart without it; copy "
        "the file again from the run."
        for key in _keys(rule)
        if key not in found
    ]
    texts = {
        "cluster_name",
        "task_state",
        "host_name",
        "battery_state",
        rule.entity if rule.entity != "task_id" else "",
    }
    numbers = (name for name in ("timestamp", *_bounded(rule)) if name in found and name not in texts)
    kinds = ((name, expected.schema.field(name).type) for name in numbers)
    said += [
        f"{rule.file}: column {name} has type {kind}; must be a number. Write it as OpenDC does."
        for name, kind in kinds
        if not _is_number(kind)
    ]
    return said


def unbounded(rule: TableRule, expected: pa.Table) -> list[str]:
    """Columns with a bound that a recording does not have, so that nothing holds the engine to them."""
    return [name for name in _bounded(rule) if name not in expected.column_names]


def _bounded(rule: TableRule) -> tuple[str, ...]:
    return (*rule.exact, *rule.sample, *rule.stale, *rule.total)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind))


def stale_hosts(host: pa.Table | None) -> set[tuple[int, str]]:
    """(timestamp, host name) of the rows whose usage is not what demand and capacity give (SEMANTICS 5.6)."""
    needed = ("cpu_usage", "cpu_demand", "cpu_capacity", "timestamp")
    if host is None or not {*needed, "host_name"} <= set(host.column_names):
        return set()
    if not all(_is_number(host.schema.field(name).type) for name in needed):
        return set()
    usage, demand, capacity = (
        host[c].to_numpy().astype(np.float64) for c in ("cpu_usage", "cpu_demand", "cpu_capacity")
    )
    odd = np.flatnonzero(_relative(usage, np.minimum(demand, capacity)) > SAMPLE_BOUND)
    times = host["timestamp"].to_numpy()
    return {(int(times[i]), host["host_name"][int(i)].as_py()) for i in odd}


class _Rows:
    """A table's columns as NumPy arrays in the order of its keys, decoded when asked for."""

    def __init__(self, table: pa.Table, order: NDArray[np.int64]) -> None:
        self._table, self._order = table, order
        self._decoded: dict[str, NDArray[Any]] = {}

    def column(self, name: str) -> NDArray[Any]:
        if name not in self._decoded:
            self._decoded[name] = _decode(self._table[name])[self._order]
        return self._decoded[name]

    def has(self, name: str) -> bool:
        return name in self._table.column_names

    def is_number(self, name: str) -> bool:
        return _is_number(self._table.schema.field(name).type)


def _decode(column: pa.ChunkedArray) -> NDArray[Any]:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_integer(column.type):
        return np.asarray(column.cast(pa.int64()).fill_null(_NULL).to_numpy())
    if pa.types.is_floating(column.type):
        return np.asarray(column.cast(pa.float64()).fill_null(np.nan).to_numpy())
    return np.asarray(column.cast(pa.string()).fill_null("").to_numpy(zero_copy_only=False)).astype(np.str_)


def _keys(rule: TableRule) -> tuple[str, ...]:
    return ("timestamp", rule.entity) if rule.entity else ("timestamp",)


def _sorted(rule: TableRule, table: pa.Table) -> _Rows:
    return _Rows(table, np.lexsort([_decode(table[key]) for key in reversed(_keys(rule))]))


def _first_odd(rule: TableRule, expected: pa.Table, actual: pa.Table) -> str:
    """Where the keys of two tables part, in words."""
    want, have = (_sorted(rule, table) for table in (expected, actual))
    wanted, had = (list(zip(*(rows.column(k).tolist() for k in _keys(rule)), strict=True)) for rows in (want, have))
    for w, h in zip(wanted, had, strict=False):
        if w != h:
            missing = w < h
            return f" (first {'missing' if missing else 'unexpected'}: {_name(rule, w if missing else h)})"
    rest = wanted[len(had):] or had[len(wanted):]  # fmt: skip
    return f" (first {'missing' if len(wanted) > len(had) else 'unexpected'}: {_name(rule, rest[0])})" if rest else ""


def _name(rule: TableRule, key: tuple[Any, ...]) -> str:
    return " ".join(f"{column} {value}" for column, value in zip(_keys(rule), key, strict=True))


def _compare_column(
    rule: TableRule,
    column: str,
    want: _Rows,
    have: _Rows,
    stale: set[tuple[int, str]],
    findings: list[Finding],
    why: list[str],
    strict: bool,
) -> None:
    name = f"{rule.name}.{column}"
    expected, actual = want.column(column), have.column(column)
    if column in rule.exact or not want.is_number(column) or (strict and expected.dtype.kind == "i"):
        odd = np.flatnonzero(expected != actual)
        bounded = strict or column in rule.exact
        findings.append(Finding(name, float(len(odd)), 0.0 if bounded else None))
        if bounded and len(odd):
            why.append(_told(rule, name, f"{len(odd)} of {len(expected)} rows differ", odd, want, expected, actual))
        return
    deviation = _relative(actual.astype(np.float64), expected.astype(np.float64))
    if column in rule.stale and stale:
        deviation = np.where(_is_stale(want, stale), 0.0, deviation)
    bound = STRICT_BOUND if strict else SAMPLE_BOUND if column in (*rule.sample, *rule.stale) else None
    findings.append(Finding(name, float(deviation.max(initial=0.0)), bound))
    odd = np.flatnonzero(~(deviation <= bound)) if bound is not None else np.zeros(0, np.int64)
    if len(odd):
        said = f"off by up to {deviation.max():.1e} (bound {bound:g}) in {len(odd)} of {len(expected)} rows"
        why.append(_told(rule, name, said, odd, want, expected, actual))
    if column in rule.total:
        _compare_totals(rule, name, want, expected, actual, findings, why)


def _compare_totals(
    rule: TableRule,
    name: str,
    want: _Rows,
    expected: NDArray[Any],
    actual: NDArray[Any],
    findings: list[Finding],
    why: list[str],
) -> None:
    names, group = np.unique(want.column(rule.entity or "timestamp"), return_inverse=True)
    totals = [np.bincount(group, weights=values, minlength=len(names)) for values in (actual, expected)]
    deviation = _relative(totals[0], totals[1])
    findings.append(Finding(f"{name} total", float(deviation.max(initial=0.0)), TOTAL_BOUND))
    odd = np.flatnonzero(~(deviation <= TOTAL_BOUND))
    if len(odd):
        first = int(odd[0])
        why.append(
            f"{name}: total of {names[first]} is {totals[0][first]:.9g}, expected {totals[1][first]:.9g} "
            f"(off by {deviation[first]:.1e}, bound {TOTAL_BOUND:g}; {len(odd)} of {len(names)} totals)"
        )


def _relative(actual: NDArray[Any], expected: NDArray[Any]) -> NDArray[np.float64]:
    """Deviation per element; both not a number counts as equal, one of them as infinitely far."""
    with np.errstate(invalid="ignore"):
        deviation = np.abs(actual - expected) / np.maximum(np.abs(expected), _FLOOR)
    deviation = np.where((actual == expected) | (np.isnan(actual) & np.isnan(expected)), 0.0, deviation)
    return np.where(np.isnan(deviation), np.inf, deviation)


def _is_stale(rows: _Rows, stale: set[tuple[int, str]]) -> NDArray[np.bool_]:
    if not rows.has("host_name"):  # nobody can tell which rows of that time
        times = {at for at, _ in stale}
        return np.fromiter((at in times for at in rows.column("timestamp").tolist()), dtype=np.bool_)
    keys = zip(rows.column("timestamp").tolist(), rows.column("host_name").tolist(), strict=True)
    return np.fromiter((key in stale for key in keys), dtype=np.bool_)


def _told(
    rule: TableRule,
    name: str,
    said: str,
    odd: NDArray[np.int64],
    want: _Rows,
    expected: NDArray[Any],
    actual: NDArray[Any],
) -> str:
    first = int(odd[0])
    where = _name(rule, tuple(want.column(key)[first] for key in _keys(rule)))
    return f"{name}: {said}; first at {where}: {_shown(actual[first])}, expected {_shown(expected[first])}"


def _shown(value: Any) -> str:
    return "null" if isinstance(value, np.integer) and value == _NULL else str(value)
