"""Numbers for Prometheus: requests as they are served, gauges from the lake when asked."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from opendt import __version__
from opendt.api.context import Context
from opendt.api.errors import NotFoundError
from opendt.lake.connection import NoLakeError

BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


@dataclass(frozen=True, slots=True)
class Gauge:
    """One number about the present."""

    name: str
    help: str
    value: float
    labels: tuple[tuple[str, str], ...] = ()
    kind: str = "gauge"


class RequestCounts:
    """How many requests were served, and how long they took, by method, route and status."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._counts: dict[tuple[str, str, int], int] = defaultdict(int)
        self._seconds: dict[str, float] = defaultdict(float)
        self._buckets: dict[str, list[int]] = defaultdict(lambda: [0] * (len(BUCKETS_S) + 1))

    def add(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        with self._guard:
            self._counts[method, route, status] += 1
            self._seconds[route] += seconds
            slot = next((n for n, limit in enumerate(BUCKETS_S) if seconds <= limit), len(BUCKETS_S))
            self._buckets[route][slot] += 1

    def lines(self) -> list[str]:
        """The counts in Prometheus' text format."""
        with self._guard:
            found = ["# HELP opendt_http_requests_total Requests served.", "# TYPE opendt_http_requests_total counter"]
            for (method, route, status), count in sorted(self._counts.items()):
                labels = _labels((("method", method), ("route", route), ("status", str(status))))
                found.append(f"opendt_http_requests_total{labels} {count}")
            found.append("# HELP opendt_http_request_seconds Time from request to last byte [s].")
            found.append("# TYPE opendt_http_request_seconds histogram")
            for route, slots in sorted(self._buckets.items()):
                found += self._histogram(route, slots)
        return found

    def _histogram(self, route: str, slots: list[int]) -> Iterable[str]:
        total = 0
        for limit, count in zip((*map(str, BUCKETS_S), "+Inf"), slots, strict=True):
            total += count
            yield f"opendt_http_request_seconds_bucket{_labels((('route', route), ('le', limit)))} {total}"
        yield f"opendt_http_request_seconds_sum{_labels((('route', route),))} {self._seconds[route]:.6f}"
        yield f"opendt_http_request_seconds_count{_labels((('route', route),))} {total}"


class CountRequests:
    """Counts every request under the path template of its route, so that paths stay few."""

    def __init__(self, app: ASGIApp, counts: RequestCounts) -> None:
        self._app = app
        self._counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry point."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, sending)
        finally:
            route = getattr(scope.get("route"), "path", "unmatched")
            self._counts.add(scope["method"], route, status, time.perf_counter() - started)


def lake_gauges(ctx: Context) -> list[Gauge]:
    """The latest run in numbers; nothing without a lake."""
    try:
        run = ctx.run_key("latest")
    except (NoLakeError, NotFoundError):
        return []
    owner = [run.run_id, run.datacenter]
    labels = (("datacenter", run.datacenter), ("run_id", run.run_id))
    (totals,) = ctx.lake.rows(
        """SELECT (runs.state = 'running')::INTEGER AS running, coalesce(t.windows, 0) AS windows,
               coalesce(t.tasks_seen, 0) AS tasks, coalesce(t.late_records, 0) AS late,
               coalesce(t.duplicate_records, 0) AS duplicate, coalesce(t.dead_letters, 0) AS dead,
               t.energy_kwh, t.carbon_kg, t.mape_pct, t.persistence_mape_pct, t.last_ms / 1000.0 AS last_s
        FROM runs LEFT JOIN run_totals AS t USING (run_id, datacenter) WHERE run_id = ? AND datacenter = ?""",
        owner,
    )
    last = ctx.lake.rows(
        """SELECT simulated_w, measured_w, utilization_ratio, tasks_running FROM power_samples
        WHERE run_id = ? AND datacenter = ? ORDER BY timestamp_ms DESC LIMIT 1""",
        owner,
    )
    texts: dict[str, tuple[str, str, Any]] = {
        "opendt_run_running": ("Whether the latest run is running.", "gauge", totals["running"]),
        "opendt_run_windows_total": ("Windows committed.", "counter", totals["windows"]),
        "opendt_run_tasks_total": ("Tasks that arrived.", "counter", totals["tasks"]),
        "opendt_run_late_records_total": ("Records for closed windows.", "counter", totals["late"]),
        "opendt_run_duplicate_records_total": ("Records seen before.", "counter", totals["duplicate"]),
        "opendt_run_dead_letters_total": ("Records not understood.", "counter", totals["dead"]),
        "opendt_run_energy_kwh": ("Simulated energy [kWh].", "gauge", totals["energy_kwh"]),
        "opendt_run_carbon_kg": ("Emission [kg].", "gauge", totals["carbon_kg"]),
        "opendt_run_mape_percent": ("Error of simulated power [%].", "gauge", totals["mape_pct"]),
        "opendt_run_persistence_mape_percent": ("Error of persistence [%].", "gauge", totals["persistence_mape_pct"]),
        "opendt_run_last_window_timestamp_seconds": ("End of the last window, trace time.", "gauge", totals["last_s"]),
    }
    if last:
        row = last[0]
        texts["opendt_power_simulated_watts"] = ("Simulated power, last sample [W].", "gauge", row["simulated_w"])
        texts["opendt_power_measured_watts"] = ("Measured power, last sample [W].", "gauge", row["measured_w"])
        texts["opendt_utilization_ratio"] = ("Used share of capacity, last sample.", "gauge", row["utilization_ratio"])
        texts["opendt_tasks_running"] = ("Running tasks, last sample.", "gauge", row["tasks_running"])
    return [
        Gauge(name, text, float(value), labels, kind)
        for name, (text, kind, value) in texts.items()
        if value is not None
    ]


def exposition(requests: RequestCounts, gauges: Iterable[Gauge]) -> str:
    """Everything in Prometheus' text format."""
    lines = [
        "# HELP opendt_build_info Version of OpenDT.",
        "# TYPE opendt_build_info gauge",
        f"opendt_build_info{_labels((('version', __version__),))} 1",
    ]
    for gauge in gauges:
        lines += [f"# HELP {gauge.name} {gauge.help}", f"# TYPE {gauge.name} {gauge.kind}"]
        lines.append(f"{gauge.name}{_labels(gauge.labels)} {gauge.value:.10g}")
    return "\n".join([*lines, *requests.lines()]) + "\n"


def _labels(pairs: Iterable[tuple[str, str]]) -> str:
    def safe(text: str) -> str:
        return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")

    return "{" + ",".join(f'{name}="{safe(value)}"' for name, value in pairs) + "}"
