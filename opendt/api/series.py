"""Time series of a run, aggregated in DuckDB to the interval asked for.

A bucket holds the samples from its time on, until the next bucket; buckets are aligned to multiples of the interval
since the epoch. An interval shorter than the samples' spacing gives the samples as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from opendt.errors import InputError
from opendt.lake.reader import Commit, LakeReader, RunKey
from opendt.lake.samples import ArrowQueries, PowerSamples

MAX_POINTS = 250_000


@dataclass(frozen=True, slots=True)
class Span:
    """What part of a run, how finely: half-open times [epoch ms], None for open, and the interval [s]."""

    interval_s: int = 60
    start_ms: int | None = None
    end_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """How columns of power samples are aggregated; ``time`` is the name of the time column."""

    columns: tuple[tuple[str, str], ...]
    time: str = "time"
    having: str = "true"


_MEANS = (
    "simulated_w", "uncalibrated_w", "measured_w", "band_low_w", "band_high_w", "persistence_w", "utilization_ratio",
    "active_hosts", "tasks_running", "tasks_waiting",
)  # fmt: skip

POWER = Series(
    (
        *((name, f"avg({name})") for name in _MEANS),
        ("error_pct", "avg(100.0 * abs(simulated_w - measured_w) / measured_w) FILTER (measured_w > 0)"),
        ("energy_kwh", "sum(energy_j) / 3.6e6"),
    ),
)

CARBON = Series(
    (
        ("carbon_intensity_g_per_kwh", "avg(carbon_intensity_g_per_kwh)"),
        ("simulated_w", "avg(simulated_w)"),
        ("carbon_g", "sum(carbon_g)"),
        ("energy_kwh", "sum(energy_j) / 3.6e6"),
    ),
)

# Field names of the older REST API.
OLD_POWER = Series((("simulated_power", "avg(simulated_w)"), ("actual_power", "avg(measured_w)")), "timestamp")
OLD_CARBON = Series(
    (
        ("carbon_intensity", "avg(carbon_intensity_g_per_kwh)"),
        ("power_draw", "avg(simulated_w)"),
        ("carbon_emission", "avg(simulated_w * carbon_intensity_g_per_kwh) / 1000"),
    ),
    "timestamp",
    "carbon_intensity IS NOT NULL",
)


class SeriesReader:
    """Reads series of power samples: from memory, or from the lake for runs too long to keep there."""

    def __init__(self, lake: LakeReader) -> None:
        self._lake = lake
        self._samples = PowerSamples(lake)
        self._queries = ArrowQueries()

    def close(self) -> None:
        """Close every connection of its own."""
        self._queries.close()

    def read(self, series: Series, run: RunKey, span: Span, at: Commit) -> pa.Table:
        """A series as of a commit or later, ordered by time.

        Raises ``InputError`` when it would have more than ``MAX_POINTS`` points.
        """
        samples = self._samples.of(run, at)
        if samples is None:
            where, params = _where(run, span)
            return _checked(self._lake.query(_series_sql(series, span, "power_samples", where), params))
        where, params = _within(span)
        return _checked(self._queries.query(samples, _series_sql(series, span, "samples", where), params))


def _series_sql(series: Series, span: Span, source: str, where: str) -> str:
    columns = ", ".join(f"{expression} AS {name}" for name, expression in series.columns)
    names = ", ".join(name for name, _ in series.columns)
    step = span.interval_s * 1_000
    return f"""SELECT {_time(False)} AS {series.time}, {names}
        FROM (SELECT timestamp_ms // {step} * {step} AS bucket_ms, {columns}
              FROM {source} WHERE {where} GROUP BY 1)
        WHERE {series.having} ORDER BY bucket_ms LIMIT {MAX_POINTS + 1}"""


HOST_METRICS = ("cpu_utilization_ratio", "power_w", "tasks_running", "cpu_usage_mhz", "cpu_demand_mhz")


def read_hosts(
    lake: LakeReader, run: RunKey, span: Span, metric: str, host_name: str | None, *, text_time: bool = True
) -> pa.Table:
    """(time, cluster_name, host_name, metric) per bucket and host, ordered by time and host."""
    where, params = _where(run, span)
    if host_name is not None:
        where, params = f"{where} AND host_name = ?", [*params, host_name]
    step = span.interval_s * 1_000
    found = lake.query(
        f"""SELECT {_time(text_time)} AS time, cluster_name, host_name, {metric}
        FROM (SELECT timestamp_ms // {step} * {step} AS bucket_ms, cluster_name, host_name, avg({metric}) AS {metric}
              FROM host_samples WHERE {where} GROUP BY 1, 2, 3)
        ORDER BY bucket_ms, cluster_name, host_name LIMIT {MAX_POINTS + 1}""",
        params,
    )
    return _checked(found)


def read_heatmap(lake: LakeReader, run: RunKey, span: Span, metric: str) -> dict[str, Any]:
    """``times``, ``hosts`` (cluster_name, host_name) and ``values``: per host one value per time, null where unknown.

    Raises ``InputError`` when it would have more than ``MAX_POINTS`` cells.
    """
    where, params = _where(run, span)
    step = span.interval_s * 1_000
    bucket = f"timestamp_ms // {step} * {step}"
    (size,) = lake.rows(
        f"SELECT count(DISTINCT {bucket}) * count(DISTINCT (cluster_name, host_name)) AS cells "
        f"FROM host_samples WHERE {where}",
        params,
    )
    if size["cells"] > MAX_POINTS:
        raise _too_many()
    rows = lake.rows(
        f"""WITH cells AS (
            SELECT {bucket} AS bucket_ms, cluster_name, host_name, avg({metric}) AS cell
            FROM host_samples WHERE {where} GROUP BY 1, 2, 3
        ), buckets AS (SELECT DISTINCT bucket_ms FROM cells),
        hosts AS (SELECT DISTINCT cluster_name, host_name FROM cells)
        SELECT * FROM (
            SELECT cluster_name, host_name, list({_iso("bucket_ms")} ORDER BY bucket_ms) AS times,
                   list(round(cell, 4) ORDER BY bucket_ms) AS cells
            FROM hosts CROSS JOIN buckets LEFT JOIN cells USING (cluster_name, host_name, bucket_ms)
            GROUP BY cluster_name, host_name
        ) ORDER BY cluster_name, regexp_replace(host_name, '[0-9]+$', ''), length(host_name), host_name""",
        params,
    )
    return {
        "times": rows[0]["times"] if rows else [],
        "hosts": [{"cluster_name": row["cluster_name"], "host_name": row["host_name"]} for row in rows],
        "values": [row["cells"] for row in rows],
    }


def _checked(found: pa.Table) -> pa.Table:
    if found.num_rows > MAX_POINTS:
        raise _too_many()
    return found


def _too_many() -> InputError:
    return InputError(
        f"this has more than {MAX_POINTS:,} points. Ask for a larger interval_seconds or a shorter period.",
        max_points=MAX_POINTS,
    )


def _where(run: RunKey, span: Span) -> tuple[str, list[object]]:
    within, params = _within(span)
    return f"run_id = ? AND datacenter = ? AND {within}", [run.run_id, run.datacenter, *params]


def _within(span: Span) -> tuple[str, list[object]]:
    where = "true"
    params: list[object] = []
    for comparison, moment in ((">=", span.start_ms), ("<", span.end_ms)):
        if moment is not None:
            where += f" AND timestamp_ms {comparison} ?"
            params.append(moment)
    return where, params


def _iso(column: str) -> str:
    return f"strftime(epoch_ms({column}), '%Y-%m-%dT%H:%M:%SZ')"


def _time(text: bool) -> str:
    return _iso("bucket_ms") if text else "make_timestamptz(bucket_ms * 1000)"
