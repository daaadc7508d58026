"""Queries of ours that more than one place needs."""

from __future__ import annotations

# Order of table ``runs`` whose first row is the latest run: one that failed before its first window is not what people
# look for, so runs with a committed window come before those without; newest first. View ``latest_run`` does the same.
LATEST_FIRST = "(run_id, datacenter) IN (SELECT (run_id, datacenter) FROM windows) DESC, started_ms DESC, run_id DESC"
LATEST_TABLES = ("runs", "windows")

# Runs with their totals: what the run's end wrote, else what its windows have added up so far.
RUNS = """
SELECT run_id, datacenter, kind, state, reason, make_timestamptz(started_ms * 1000) AS started,
       make_timestamptz(ended_ms * 1000) AS ended, trace, engine, engine_version, code_version,
       coalesce(runs.windows, totals.windows, 0) AS windows,
       coalesce(runs.tasks_seen, totals.tasks_seen) AS tasks_seen,
       coalesce(runs.tasks_run, totals.tasks_run) AS tasks_run,
       coalesce(runs.tasks_dropped, totals.tasks_dropped) AS tasks_dropped,
       coalesce(runs.fragments, totals.fragments) AS fragments,
       coalesce(runs.energy_kwh, totals.energy_kwh) AS energy_kwh,
       coalesce(runs.energy_uncalibrated_kwh, totals.energy_uncalibrated_kwh) AS energy_uncalibrated_kwh,
       coalesce(runs.energy_measured_kwh, totals.energy_measured_kwh) AS energy_measured_kwh,
       coalesce(runs.carbon_kg, totals.carbon_kg) AS carbon_kg,
       coalesce(runs.mape_pct, totals.mape_pct) AS mape_pct,
       coalesce(runs.uncalibrated_mape_pct, totals.uncalibrated_mape_pct) AS uncalibrated_mape_pct,
       coalesce(runs.persistence_mape_pct, totals.persistence_mape_pct) AS persistence_mape_pct,
       totals.peak_power_kw, totals.runtime_h, totals.mean_wait_s, runs.wall_s
FROM runs LEFT JOIN run_totals AS totals USING (run_id, datacenter)
"""
