"""Every table and column of the lake: type, unit, meaning. The one place where they are declared.

Times are epoch milliseconds (``*_ms``, int64); views for people add TIMESTAMPTZ columns. ``run_id`` and
``datacenter`` lead every table that a run writes, so that a rerun replaces exactly its own rows.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Column:
    """A column: DuckDB type, unit ("" for none) and meaning."""

    name: str
    type: str
    unit: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table; ``key`` columns together identify a row, ``window`` tells whether a window commit replaces its rows."""

    name: str
    meaning: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    window: bool = False


def _table(name: str, meaning: str, key: str, columns: str, *, window: bool = False) -> Table:
    """One column a line: name, type, unit (or -), meaning."""
    parsed = []
    for line in filter(None, map(str.strip, columns.splitlines())):
        column, type_, unit, text = line.split(maxsplit=3)
        parsed.append(Column(column, type_.replace("_", " "), "" if unit == "-" else unit, text))
    return Table(name, meaning, tuple(key.split()), tuple(parsed), window)


_RUN = """
run_id VARCHAR - identifier of the run
datacenter VARCHAR - identifier of the datacenter
"""
_WINDOW = _RUN + "window_index BIGINT - number of the window within the run, from 0\n"

TABLES: tuple[Table, ...] = (
    _table("runs", "one row per run of a flow or command", "run_id datacenter", _RUN + """
kind VARCHAR - pipeline, twin, simulate, calibrate, optimize or nightly
state VARCHAR - running, completed, failed or cancelled
reason VARCHAR - why the run failed or was cancelled, else null
started_ms BIGINT ms wall clock at start
ended_ms BIGINT ms wall clock at end, null while running
trace VARCHAR - name of the trace replayed, null for a live stream
trace_sha256 VARCHAR - hash over the trace's files
trace_path VARCHAR - folder the trace was read from, null for a live stream
engine VARCHAR - name of the engine
engine_version VARCHAR - version of the engine
code_version VARCHAR - OpenDT version and commit
config_json VARCHAR - resolved settings without secrets
topology_version VARCHAR - version of the topology at start
window_ms BIGINT ms length of a window
origin_ms BIGINT ms start of the first window, trace time
windows BIGINT - windows committed
tasks_seen BIGINT - tasks that arrived
tasks_run BIGINT - tasks that were started
tasks_dropped BIGINT - tasks that will never run
dropped_json VARCHAR - why tasks were dropped: reason to count
fragments BIGINT - fragments that arrived
energy_kwh DOUBLE kWh simulated energy with the parameters in force in each window
energy_uncalibrated_kwh DOUBLE kWh simulated energy with the topology as given
energy_measured_kwh DOUBLE kWh integral of measured power
energy_low_kwh DOUBLE kWh lower end of the 90 % band of the energy, null without measurements to learn from
energy_high_kwh DOUBLE kWh upper end of the 90 % band
carbon_kg DOUBLE kg emission of the simulated energy
carbon_low_kg DOUBLE kg lower end of the 90 % band of the emission
carbon_high_kg DOUBLE kg upper end of the 90 % band
mape_pct DOUBLE % mean absolute percentage error of simulated against measured power
uncalibrated_mape_pct DOUBLE % the same with the topology as given
persistence_mape_pct DOUBLE % error of holding the last value measured before each window
wall_s DOUBLE s wall time
stages_json VARCHAR - seconds spent per stage
"""),
    _table("windows", "one row per committed window; the authority on what is done", "run_id datacenter window_index",
           _WINDOW + """
start_ms BIGINT ms start of the window, included
end_ms BIGINT ms end of the window, excluded
state VARCHAR - closed, or reopened when late records were added
tasks_arrived BIGINT - tasks submitted in the window
tasks_dropped BIGINT - of these, tasks that will never run
fragments_arrived BIGINT - fragments that arrived in the window
power_samples BIGINT - power readings that arrived in the window
late_records BIGINT - records for closed windows seen since the window before
duplicate_records BIGINT - records dropped because they had been seen
dead_letters BIGINT - records that could not be understood
tasks_started BIGINT - tasks placed on a host
tasks_completed BIGINT - tasks that ended
tasks_terminated BIGINT - tasks given up by the scheduler
tasks_running BIGINT - tasks running at the end
tasks_waiting BIGINT - tasks waiting at the end
energy_j DOUBLE J simulated energy with the parameters in force
energy_uncalibrated_j DOUBLE J simulated energy with the topology as given
energy_measured_j DOUBLE J integral of measured power, null without readings
energy_low_j DOUBLE J lower end of the 90 % band of the energy, learnt in the windows before; null at first
energy_high_j DOUBLE J upper end of the 90 % band
carbon_g DOUBLE g emission of the simulated energy
carbon_low_g DOUBLE g lower end of the 90 % band of the emission
carbon_high_g DOUBLE g upper end of the 90 % band
mape_pct DOUBLE % error of simulated against measured power, null without readings
uncalibrated_mape_pct DOUBLE % the same with the topology as given
persistence_mape_pct DOUBLE % error of holding the last value measured before the window
topology_version VARCHAR - topology in force
calibration_id VARCHAR - calibration in force, null before the first
offsets_json VARCHAR - next offset to read per topic and partition
wall_ms DOUBLE ms time spent on the window
committed_ms BIGINT ms wall clock of the commit
""", window=True),
    _table("checkpoints", "state to resume from; one row per run, that of its last window", "run_id datacenter", _WINDOW + """
engine VARCHAR - engine that wrote the engine state
engine_state BLOB - engine state after the window
twin_state BLOB - calibration, counters and stream position after the window
offsets_json VARCHAR - next offset to read per topic and partition
"""),
    _table("power_samples", "simulated and measured power on the sampling grid", "run_id datacenter timestamp_ms", _WINDOW + """
timestamp_ms BIGINT ms time of the sample
simulated_w DOUBLE W power with the parameters in force
uncalibrated_w DOUBLE W power with the topology as given
measured_w DOUBLE W measured power, null where there is no reading
band_low_w DOUBLE W lower end of the prediction band
band_high_w DOUBLE W upper end of the prediction band
persistence_w DOUBLE W last value measured before the window
utilization_ratio DOUBLE - used share of all processing capacity
active_hosts BIGINT - hosts with at least one running task
tasks_running BIGINT - running tasks
tasks_waiting BIGINT - tasks waiting for a host
carbon_intensity_g_per_kwh DOUBLE g/kWh carbon intensity
energy_j DOUBLE J simulated energy since the previous sample
carbon_g DOUBLE g emission since the previous sample
""", window=True),
    _table("host_samples", "state of each host on the coarser host grid", "run_id datacenter timestamp_ms cluster_name host_name",
           _WINDOW + """
timestamp_ms BIGINT ms time of the sample
cluster_name VARCHAR - cluster
host_name VARCHAR - host, unique in the topology
tasks_running INTEGER - running tasks
cpu_capacity_mhz DOUBLE MHz capacity of the host
cpu_usage_mhz DOUBLE MHz capacity granted
cpu_demand_mhz DOUBLE MHz capacity asked for
cpu_utilization_ratio DOUBLE - granted share of the capacity
power_w DOUBLE W simulated power with the topology as given
""", window=True),
    _table("task_events", "life of each task", "run_id datacenter task_id event time_ms", _WINDOW + """
task_id BIGINT - task id in the engine
task_name VARCHAR - task id in the trace
event VARCHAR - submitted, scheduled, completed, terminated, failed or dropped
time_ms BIGINT ms when
cluster_name VARCHAR - cluster of the host, null when not placed
host_name VARCHAR - host, null when not placed
reason VARCHAR - why a task was dropped or terminated, else null
""", window=True),
    _table("calibrations", "parameters chosen, and on what evidence", "run_id datacenter calibration_id", _WINDOW + """
calibration_id VARCHAR - identifier of the calibration
method VARCHAR - grid, random, bayesian or online
curve VARCHAR - power curve
parameters_json VARCHAR - parameters chosen
trained_from_ms BIGINT ms start of the measurements used
trained_until_ms BIGINT ms end of the measurements used, excluded
samples BIGINT - readings used
excluded_json VARCHAR - readings left out: reason to count
score_mape_pct DOUBLE % error on the measurements used
heldout_mape_pct DOUBLE % error on held-out measurements, null when none were held out
active_heldout_mape_pct DOUBLE % error of the parameters then in force on the same held-out measurements
published BOOLEAN - whether it was put in force
reason VARCHAR - why it was or was not published
identifiability_json VARCHAR - parameters the data could not tell apart
duration_ms DOUBLE ms time spent
created_ms BIGINT ms wall clock
""", window=True),
    _table("calibration_trials", "every attempt of every calibration", "run_id datacenter calibration_id trial", _WINDOW + """
calibration_id VARCHAR - calibration the trial belongs to
trial BIGINT - number of the trial, from 0
sampler VARCHAR - sampler that asked for it
parameters_json VARCHAR - parameters tried
state VARCHAR - complete or failed
score_mape_pct DOUBLE % error, null when failed
reason VARCHAR - why it failed, else null
from_ms BIGINT ms start of the data scored
until_ms BIGINT ms end of the data scored, excluded
seed BIGINT - seed of the sampler
engine VARCHAR - engine that simulated it
duration_ms DOUBLE ms time spent
""", window=True),
    _table("topologies", "every topology that came into force, each time it did", "datacenter version created_ms", """
datacenter VARCHAR - identifier of the datacenter
version VARCHAR - hash of the topology's content
topology_json VARCHAR - the topology in OpenDC's format
source VARCHAR - trace, api, calibration, proposal or rollback
run_id VARCHAR - run that published it, null otherwise
valid_from_ms BIGINT ms trace time from which it holds, null when unknown
created_ms BIGINT ms wall clock
"""),
    _table("proposals", "changes proposed, evaluated by simulation", "proposal_id", _RUN + """
proposal_id VARCHAR - identifier of the proposal
window_index BIGINT - last window it was based on
strategy VARCHAR - rules, bayesian, random, llm or no-op
state VARCHAR - pending, approved, rejected, expired, applied or verified
changes_json VARCHAR - changed topology fields: path to value
topology_json VARCHAR - the topology proposed
reasons_json VARCHAR - reasons in words
fallback_reason VARCHAR - why another strategy had to stand in, else null
baseline_energy_kwh DOUBLE kWh energy of the baseline on the same windows
energy_kwh DOUBLE kWh energy of the proposal
energy_low_kwh DOUBLE kWh lower end of the 90 % band of the saving's energy
energy_high_kwh DOUBLE kWh upper end of the 90 % band
baseline_runtime_h DOUBLE h runtime of the baseline
runtime_h DOUBLE h runtime of the proposal
carbon_kg DOUBLE kg emission of the proposal
baseline_carbon_kg DOUBLE kg emission of the baseline
peak_power_kw DOUBLE kW peak power of the proposal
queue_delay_s DOUBLE s mean wait of tasks for a host
score DOUBLE - value of the objective, lower is better
baseline_score DOUBLE - value of the objective for the baseline
simulations BIGINT - simulations spent to find it
duration_s DOUBLE s time spent to find it
details_json VARCHAR - strategy specific facts (prompt, answer, tokens, cost)
created_ms BIGINT ms wall clock
"""),
    _table("decisions", "what people or policies decided about proposals", "decision_id", """
decision_id VARCHAR - identifier of the decision
proposal_id VARCHAR - proposal decided about
datacenter VARCHAR - identifier of the datacenter
decision VARCHAR - approved, rejected, expired, applied, verified or rolled-back
decided_by VARCHAR - person or policy
reason VARCHAR - why
topology_version VARCHAR - topology put in force, else null
predicted_energy_kwh DOUBLE kWh predicted energy, null when not applicable
realised_energy_kwh DOUBLE kWh energy seen afterwards, null when not applicable
created_ms BIGINT ms wall clock
"""),
    _table("slo_events", "changes of the service level objectives", "datacenter version", """
datacenter VARCHAR - identifier of the datacenter
version BIGINT - number of the version
slo_json VARCHAR - targets
source VARCHAR - file, api or cli
created_ms BIGINT ms wall clock
"""),
    _table("late_records", "records that came after their window had closed", "run_id datacenter topic partition offset_", _WINDOW + """
topic VARCHAR - topic
partition INTEGER - partition
offset_ BIGINT - offset
event_ms BIGINT ms event time of the record
kind VARCHAR - task, fragments, power or topology
policy VARCHAR - drop or reopen
payload BLOB - raw bytes, bounded
""", window=True),
    _table("dead_letters", "records that could not be understood", "run_id datacenter topic partition offset_", _WINDOW + """
topic VARCHAR - topic
partition INTEGER - partition
offset_ BIGINT - offset
reason VARCHAR - why
payload BLOB - raw bytes, bounded
payload_bytes BIGINT B length before bounding
retried_ms BIGINT ms wall clock of a successful retry, else null
""", window=True),
    _table("replays", "what a producer sent", "replay_id datacenter", """
replay_id VARCHAR - identifier of the replay
datacenter VARCHAR - identifier of the datacenter
run_id VARCHAR - run it belonged to, null when alone
trace VARCHAR - trace replayed
layout VARCHAR - columns, opendt-v1 or opendt-v0
speed DOUBLE - speed factor; -1 as fast as possible
messages BIGINT - messages sent
payload_bytes BIGINT B bytes before compression
max_lag_s DOUBLE s largest delay behind the configured speed
state VARCHAR - running, completed, stopped or failed
started_ms BIGINT ms wall clock at start
ended_ms BIGINT ms wall clock at end
"""),
)  # fmt: skip

BY_NAME: dict[str, Table] = {table.name: table for table in TABLES}
WINDOW_TABLES: tuple[str, ...] = tuple(t.name for t in TABLES if t.window)
