"""Queries worth starting from. ``docs/sql.md`` shows them, the tests run them, the dashboard offers them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Query:
    """A query with a short name and what it answers."""

    name: str
    title: str
    sql: str


GALLERY: tuple[Query, ...] = (
    Query("latest-run", "How is the latest run doing?", "SELECT * FROM latest_run"),
    Query(
        "energy-by-day",
        "How much energy did each day take, and what did it emit?",
        """SELECT run_id, date_trunc('day', hour) AS day, sum(energy_kwh) AS energy_kwh,
       sum(energy_measured_kwh) AS energy_measured_kwh, sum(carbon_kg) AS carbon_kg
FROM energy_by_hour
GROUP BY ALL ORDER BY run_id, day""",
    ),
    Query(
        "power-5min",
        "Power in five-minute means, for a chart",
        """SELECT time_bucket(INTERVAL 5 MINUTES, time) AS time, avg(simulated_w) AS simulated_w,
       avg(measured_w) AS measured_w, min(band_low_w) AS band_low_w, max(band_high_w) AS band_high_w
FROM power
WHERE run_id = (SELECT run_id FROM latest_run LIMIT 1)
GROUP BY 1 ORDER BY 1""",
    ),
    Query(
        "accuracy-beside-persistence",
        "Is the model better than holding the last value?",
        """SELECT run_id, avg(mape_pct) AS mape_pct, avg(uncalibrated_mape_pct) AS uncalibrated_mape_pct,
       avg(persistence_mape_pct) AS persistence_mape_pct,
       count(*) FILTER (mape_pct < persistence_mape_pct) AS windows_won, count(*) AS windows
FROM accuracy
GROUP BY run_id ORDER BY run_id""",
    ),
    Query(
        "worst-windows",
        "Which windows were predicted worst?",
        """SELECT run_id, start, mape_pct, persistence_mape_pct, bias_pct, calibration_id
FROM accuracy
ORDER BY mape_pct DESC LIMIT 10""",
    ),
    Query(
        "peak-hours",
        "When was power highest?",
        """SELECT run_id, hour, peak_power_kw, mean_power_kw, utilization_ratio
FROM energy_by_hour
ORDER BY peak_power_kw DESC LIMIT 10""",
    ),
    Query(
        "greenest-hours",
        "At which hours of the day is a kWh cleanest?",
        """SELECT hour(time) AS hour_of_day, avg(carbon_intensity_g_per_kwh) AS intensity_g_per_kwh,
       sum(carbon_g) / 1000 AS carbon_kg, sum(energy_j) / 3.6e6 AS energy_kwh
FROM carbon
GROUP BY 1 ORDER BY intensity_g_per_kwh""",
    ),
    Query(
        "idle-hosts",
        "Which hosts hardly work?",
        """SELECT run_id, cluster_name, host_name, avg(cpu_utilization_ratio) AS utilization_ratio,
       avg(power_w) AS power_w, count(*) FILTER (tasks_running = 0) / count(*) AS idle_share
FROM hosts
GROUP BY ALL ORDER BY utilization_ratio LIMIT 20""",
    ),
    Query(
        "longest-waits",
        "Which tasks waited longest for a host?",
        """SELECT run_id, task_name, submitted, wait_s, runtime_s, host_name
FROM tasks
WHERE wait_s IS NOT NULL
ORDER BY wait_s DESC LIMIT 20""",
    ),
    Query(
        "dropped-tasks",
        "Which tasks will never run, and why?",
        "SELECT run_id, reason, count(*) AS tasks FROM tasks WHERE state = 'dropped' GROUP BY ALL ORDER BY tasks DESC",
    ),
    Query(
        "calibrations",
        "What was calibrated, and was it published?",
        """SELECT run_id, created, method, curve, parameters_json, score_mape_pct, heldout_mape_pct, published, reason
FROM calibration_history
ORDER BY created DESC LIMIT 50""",
    ),
    Query(
        "proposals",
        "What was proposed, and what would it save?",
        """SELECT created_ms, strategy, state, baseline_energy_kwh - energy_kwh AS saving_kwh, energy_kwh, runtime_h,
       carbon_kg, reasons_json
FROM proposals
ORDER BY created_ms DESC, score LIMIT 50""",
    ),
    Query(
        "slo",
        "Which targets are missed?",
        "SELECT run_id, objective, target, value, over_pct FROM slo_compliance WHERE NOT met ORDER BY over_pct DESC",
    ),
    Query(
        "dead-letters",
        "Which messages could not be understood?",
        """SELECT run_id, topic, reason, count(*) AS records, min(offset_) AS first_offset
FROM dead_letters
GROUP BY ALL ORDER BY records DESC""",
    ),
)
