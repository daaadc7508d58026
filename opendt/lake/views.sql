-- Views for people. Times are TIMESTAMPTZ (UTC); units stand in the column names.
-- Each statement is separated by a line that holds only a semicolon.

-- power: simulated, measured and band per sample, with the error
CREATE OR REPLACE VIEW power AS
SELECT run_id, datacenter, window_index, make_timestamptz(timestamp_ms * 1000) AS time,
       simulated_w, uncalibrated_w, measured_w, band_low_w, band_high_w, persistence_w,
       simulated_w - measured_w AS error_w,
       100.0 * abs(simulated_w - measured_w) / nullif(abs(measured_w), 0) AS error_pct,
       utilization_ratio, active_hosts, tasks_running, tasks_waiting,
       carbon_intensity_g_per_kwh, energy_j, carbon_g, timestamp_ms
FROM power_samples
;

-- hosts: state of each host on the host grid
CREATE OR REPLACE VIEW hosts AS
SELECT run_id, datacenter, window_index, make_timestamptz(timestamp_ms * 1000) AS time, cluster_name, host_name,
       tasks_running, cpu_capacity_mhz, cpu_usage_mhz, cpu_demand_mhz, cpu_utilization_ratio, power_w, timestamp_ms
FROM host_samples
;

-- tasks: one row per task with the times of its life
CREATE OR REPLACE VIEW tasks AS
SELECT run_id, datacenter, task_id, any_value(task_name) AS task_name,
       arg_max(event, (time_ms, CASE event WHEN 'submitted' THEN 0 WHEN 'scheduled' THEN 1 ELSE 2 END)) AS state,
       make_timestamptz(1000 * min(time_ms) FILTER (event = 'submitted')) AS submitted,
       make_timestamptz(1000 * min(time_ms) FILTER (event = 'scheduled')) AS scheduled,
       make_timestamptz(1000 * max(time_ms) FILTER (event IN ('completed', 'terminated', 'dropped'))) AS ended,
       (min(time_ms) FILTER (event = 'scheduled') - min(time_ms) FILTER (event = 'submitted')) / 1000.0 AS wait_s,
       (max(time_ms) FILTER (event IN ('completed', 'terminated')) - min(time_ms) FILTER (event = 'scheduled')) / 1000.0
           AS runtime_s,
       arg_max(cluster_name, time_ms) FILTER (host_name IS NOT NULL) AS cluster_name,
       arg_max(host_name, time_ms) FILTER (host_name IS NOT NULL) AS host_name,
       max(reason) AS reason
FROM task_events
GROUP BY run_id, datacenter, task_id
;

-- energy_by_hour: energy, emission and power per hour of trace time; a sample's energy counts in the hour it ends in.
-- Uncalibrated and measured energy are kept per window: each sample gets its share, by its power and its interval.
-- The interval of a run's first sample is taken to be that of the next.
CREATE OR REPLACE VIEW energy_by_hour AS
WITH steps AS (
    SELECT *, coalesce(timestamp_ms - lag(timestamp_ms) OVER run, lead(timestamp_ms) OVER run - timestamp_ms, 1) / 1000.0 AS step_s
    FROM power_samples
    WINDOW run AS (PARTITION BY run_id, datacenter ORDER BY timestamp_ms)
), weighed AS (
    SELECT *, uncalibrated_w * step_s AS uncalibrated_j, measured_w * step_s AS measured_j,
           sum(uncalibrated_w * step_s) OVER one_window AS window_uncalibrated_j,
           sum(measured_w * step_s) OVER one_window AS window_measured_j
    FROM steps
    WINDOW one_window AS (PARTITION BY run_id, datacenter, window_index)
)
SELECT run_id, datacenter, make_timestamptz(1000 * (timestamp_ms // 3600000 * 3600000)) AS hour,
       sum(weighed.energy_j) / 3.6e6 AS energy_kwh,
       sum(uncalibrated_j * coalesce(windows.energy_uncalibrated_j / nullif(window_uncalibrated_j, 0), 1)) / 3.6e6
           AS energy_uncalibrated_kwh,
       sum(measured_j * coalesce(windows.energy_measured_j / nullif(window_measured_j, 0), 1)) / 3.6e6
           AS energy_measured_kwh,
       sum(weighed.carbon_g) / 1000 AS carbon_kg,
       avg(simulated_w) / 1000 AS mean_power_kw,
       max(simulated_w) / 1000 AS peak_power_kw,
       avg(utilization_ratio) AS utilization_ratio,
       count(*) AS samples
FROM weighed LEFT JOIN windows USING (run_id, datacenter, window_index)
GROUP BY ALL
;

-- carbon: intensity and emission per sample, and the emission so far
CREATE OR REPLACE VIEW carbon AS
SELECT run_id, datacenter, window_index, make_timestamptz(timestamp_ms * 1000) AS time, carbon_intensity_g_per_kwh,
       carbon_g,
       sum(carbon_g) OVER (PARTITION BY run_id, datacenter ORDER BY timestamp_ms) / 1000 AS carbon_so_far_kg,
       energy_j, timestamp_ms
FROM power_samples
;

-- accuracy: how well each window was predicted, beside persistence
CREATE OR REPLACE VIEW accuracy AS
WITH scored AS (
    SELECT run_id, datacenter, window_index, simulated_w, measured_w, band_low_w, band_high_w,
           100.0 * abs(simulated_w - measured_w) / measured_w AS error_pct,
           100.0 * abs(uncalibrated_w - measured_w) / measured_w AS uncalibrated_error_pct,
           100.0 * abs(persistence_w - measured_w) / measured_w AS persistence_error_pct
    FROM power_samples
    WHERE measured_w > 0
)
SELECT run_id, datacenter, window_index, make_timestamptz(windows.start_ms * 1000) AS start,
       count(*) AS samples,
       avg(error_pct) AS mape_pct,
       avg(uncalibrated_error_pct) AS uncalibrated_mape_pct,
       avg(persistence_error_pct) AS persistence_mape_pct,
       100.0 * avg((error_pct < 5)::INTEGER) AS under_5_pct,
       100.0 * avg((error_pct < 10)::INTEGER) AS under_10_pct,
       100.0 * (sum(simulated_w) / sum(measured_w) - 1) AS bias_pct,
       100.0 * avg((measured_w BETWEEN band_low_w AND band_high_w)::INTEGER) AS band_coverage_pct,
       avg(band_high_w - band_low_w) AS band_width_w,
       any_value(windows.calibration_id) AS calibration_id
FROM scored JOIN windows USING (run_id, datacenter, window_index)
GROUP BY run_id, datacenter, window_index, windows.start_ms
;

-- window_times: committed windows with their times and the delay of the commit
CREATE OR REPLACE VIEW window_times AS
SELECT * EXCLUDE (start_ms, end_ms, committed_ms),
       make_timestamptz(start_ms * 1000) AS start, make_timestamptz(end_ms * 1000) AS "end",
       make_timestamptz(committed_ms * 1000) AS committed, start_ms, end_ms, committed_ms
FROM windows
;

-- run_totals: what each run has added up so far, also while it is running
CREATE OR REPLACE VIEW run_totals AS
WITH samples AS (
    SELECT run_id, datacenter, max(simulated_w) / 1000 AS peak_power_kw,
           avg(100.0 * abs(simulated_w - measured_w) / measured_w) FILTER (measured_w > 0) AS mape_pct,
           avg(100.0 * abs(uncalibrated_w - measured_w) / measured_w) FILTER (measured_w > 0) AS uncalibrated_mape_pct,
           avg(100.0 * abs(persistence_w - measured_w) / measured_w) FILTER (measured_w > 0) AS persistence_mape_pct
    FROM power_samples GROUP BY ALL
), events AS (
    SELECT run_id, datacenter, avg(wait_s) AS mean_wait_s,
           (max(epoch_ms(ended)) FILTER (state IN ('completed', 'terminated')) - min(epoch_ms(submitted))) / 3.6e6 AS runtime_h
    FROM tasks GROUP BY ALL
), closed AS (
    SELECT run_id, datacenter, count(*) AS windows, min(start_ms) AS first_ms, max(end_ms) AS last_ms,
           sum(tasks_arrived)::BIGINT AS tasks_seen, sum(tasks_started)::BIGINT AS tasks_run,
           sum(tasks_dropped)::BIGINT AS tasks_dropped, sum(fragments_arrived)::BIGINT AS fragments,
           sum(late_records)::BIGINT AS late_records, sum(duplicate_records)::BIGINT AS duplicate_records,
           sum(dead_letters)::BIGINT AS dead_letters,
           sum(energy_j) / 3.6e6 AS energy_kwh, sum(energy_uncalibrated_j) / 3.6e6 AS energy_uncalibrated_kwh,
           sum(energy_measured_j) / 3.6e6 AS energy_measured_kwh, sum(carbon_g) / 1000 AS carbon_kg,
           max(committed_ms) AS committed_ms
    FROM windows GROUP BY ALL
)
SELECT closed.*, samples.* EXCLUDE (run_id, datacenter), events.* EXCLUDE (run_id, datacenter)
FROM closed LEFT JOIN samples USING (run_id, datacenter) LEFT JOIN events USING (run_id, datacenter)
;

-- latest_run: the run started last in each datacenter, with its totals so far; one without a committed window only where
-- there is no other
CREATE OR REPLACE VIEW latest_run AS
SELECT run_id, datacenter, kind, state, reason, make_timestamptz(started_ms * 1000) AS started,
       make_timestamptz(ended_ms * 1000) AS ended, trace, engine, engine_version, code_version,
       coalesce(totals.windows, 0) AS windows, totals.tasks_seen, totals.tasks_run, totals.tasks_dropped,
       totals.fragments, totals.energy_kwh, totals.energy_uncalibrated_kwh, totals.energy_measured_kwh, totals.carbon_kg,
       totals.mape_pct, totals.uncalibrated_mape_pct, totals.persistence_mape_pct, totals.peak_power_kw,
       totals.runtime_h, totals.mean_wait_s, runs.wall_s
FROM runs LEFT JOIN run_totals AS totals USING (run_id, datacenter)
QUALIFY row_number() OVER (PARTITION BY datacenter ORDER BY totals.windows IS NOT NULL DESC, started_ms DESC, run_id DESC) = 1
;

-- slo_compliance: each target in force beside what each run reached; met is null while the value is unknown.
-- Where none were ever set, the targets of the run's own settings hold, as version 0.
CREATE OR REPLACE VIEW slo_compliance AS
WITH last_set AS (
    SELECT datacenter, version, slo_json
    FROM slo_events
    QUALIFY row_number() OVER (PARTITION BY datacenter ORDER BY version DESC, created_ms DESC) = 1
), targets AS (
    SELECT run_id, datacenter, coalesce(version, 0) AS version,
           coalesce(slo_json, config_json -> '$.slo')::JSON AS slo_json
    FROM runs LEFT JOIN last_set USING (datacenter)
), pairs AS (
    SELECT totals.run_id, totals.datacenter, targets.version AS slo_version, unnest([
        {objective: 'energy_kwh', target: (slo_json ->> '$.energy_kwh')::DOUBLE, value: totals.energy_kwh},
        {objective: 'runtime_h', target: (slo_json ->> '$.runtime_h')::DOUBLE, value: totals.runtime_h},
        {objective: 'carbon_kg', target: (slo_json ->> '$.carbon_kg')::DOUBLE, value: totals.carbon_kg},
        {objective: 'peak_power_kw', target: (slo_json ->> '$.peak_power_kw')::DOUBLE, value: totals.peak_power_kw},
        {objective: 'queue_delay_s', target: (slo_json ->> '$.queue_delay_s')::DOUBLE, value: totals.mean_wait_s}
    ]) AS pair
    FROM run_totals AS totals JOIN targets USING (run_id, datacenter)
)
SELECT run_id, datacenter, slo_version, pair.objective AS objective, pair.target AS target, pair.value AS "value",
       pair.value <= pair.target AS met, 100.0 * (pair.value / nullif(pair.target, 0) - 1) AS over_pct
FROM pairs
WHERE pair.target IS NOT NULL
;

-- calibration_history: parameters chosen over time, and whether they were put in force
CREATE OR REPLACE VIEW calibration_history AS
SELECT run_id, datacenter, window_index, calibration_id, method, curve, parameters_json,
       make_timestamptz(trained_from_ms * 1000) AS trained_from, make_timestamptz(trained_until_ms * 1000) AS trained_until,
       samples, score_mape_pct, heldout_mape_pct, active_heldout_mape_pct, published, reason, duration_ms,
       make_timestamptz(created_ms * 1000) AS created
FROM calibrations
;

-- decision_log: proposals with what was decided about them, by whom and why
CREATE OR REPLACE VIEW decision_log AS
SELECT make_timestamptz(decisions.created_ms * 1000) AS decided, decisions.datacenter, decisions.proposal_id,
       decisions.decision, decisions.decided_by, decisions.reason, decisions.topology_version, proposals.strategy,
       proposals.reasons_json, proposals.baseline_energy_kwh, proposals.energy_kwh,
       decisions.predicted_energy_kwh, decisions.realised_energy_kwh
FROM decisions LEFT JOIN proposals USING (proposal_id)
;
