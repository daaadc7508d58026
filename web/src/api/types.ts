// Shapes of the API's answers, as far as the page uses them. Null means "not known", never zero.

export type Maybe<T> = T | null;

export interface Page<T> {
  items: T[];
  total: number;
  limit: number;
  offset: number;
}

export interface Run {
  run_id: string;
  datacenter: string;
  kind: string;
  state: "running" | "completed" | "failed" | "cancelled";
  reason: Maybe<string>;
  started: string;
  ended: Maybe<string>;
  trace: Maybe<string>;
  engine: Maybe<string>;
  engine_version: Maybe<string>;
  code_version: Maybe<string>;
  windows: number;
  tasks_seen: Maybe<number>;
  tasks_run: Maybe<number>;
  tasks_dropped: Maybe<number>;
  energy_kwh: Maybe<number>;
  energy_uncalibrated_kwh: Maybe<number>;
  energy_measured_kwh: Maybe<number>;
  carbon_kg: Maybe<number>;
  mape_pct: Maybe<number>;
  uncalibrated_mape_pct: Maybe<number>;
  persistence_mape_pct: Maybe<number>;
  peak_power_kw: Maybe<number>;
  runtime_h: Maybe<number>;
  mean_wait_s: Maybe<number>;
  wall_s: Maybe<number>;
}

export interface FlowRun {
  url: Maybe<string>;
  name: Maybe<string>;
  state: Maybe<string>;
  reason: Maybe<string>;
}

export interface Series<T> {
  data: T[];
  metadata: { interval_seconds: number; count: number };
}

export interface PowerPoint {
  time: string;
  simulated_w: Maybe<number>;
  uncalibrated_w: Maybe<number>;
  measured_w: Maybe<number>;
  band_low_w: Maybe<number>;
  band_high_w: Maybe<number>;
  persistence_w: Maybe<number>;
  utilization_ratio: Maybe<number>;
  active_hosts: Maybe<number>;
  tasks_running: Maybe<number>;
  tasks_waiting: Maybe<number>;
}

export interface CarbonPoint {
  time: string;
  carbon_intensity_g_per_kwh: Maybe<number>;
  simulated_w: Maybe<number>;
  carbon_g: Maybe<number>;
}

export interface HeatMap {
  times: string[];
  hosts: { cluster_name: string; host_name: string }[];
  values: Maybe<number>[][];
}

export interface Accuracy {
  window_index: number;
  start: string;
  samples: number;
  mape_pct: Maybe<number>;
  uncalibrated_mape_pct: Maybe<number>;
  persistence_mape_pct: Maybe<number>;
  under_5_pct: Maybe<number>;
  bias_pct: Maybe<number>;
  band_coverage_pct: Maybe<number>;
}

export interface Calibration {
  window_index: number;
  calibration_id: string;
  method: string;
  curve: string;
  parameters_json: string;
  trained_until: Maybe<string>;
  samples: number;
  score_mape_pct: Maybe<number>;
  heldout_mape_pct: Maybe<number>;
  active_heldout_mape_pct: Maybe<number>;
  published: boolean;
  reason: Maybe<string>;
}

export interface Window {
  window_index: number;
  start: string;
  end: string;
  state: string;
  tasks_arrived: number;
  tasks_completed: number;
  tasks_running: number;
  tasks_waiting: number;
  late_records: number;
  duplicate_records: number;
  dead_letters: number;
  mape_pct: Maybe<number>;
  wall_ms: Maybe<number>;
  committed: string;
}

export interface DeadLetter {
  window_index: number;
  topic: string;
  partition: number;
  offset_: number;
  reason: string;
  payload_hex: Maybe<string>;
  payload_bytes: Maybe<number>;
  retried: Maybe<string>;
}

export interface Proposal {
  proposal_id: string;
  run_id: string;
  strategy: string;
  state: string;
  changes?: Record<string, unknown>;
  reasons?: string[];
  details?: { effect?: string; meets_slos?: boolean };
  fallback_reason: Maybe<string>;
  baseline_energy_kwh: Maybe<number>;
  energy_kwh: Maybe<number>;
  energy_low_kwh: Maybe<number>;
  energy_high_kwh: Maybe<number>;
  baseline_runtime_h: Maybe<number>;
  runtime_h: Maybe<number>;
  baseline_carbon_kg: Maybe<number>;
  carbon_kg: Maybe<number>;
  peak_power_kw: Maybe<number>;
  queue_delay_s: Maybe<number>;
  created: Maybe<string>;
}

export interface SloRow {
  objective: string;
  target: number;
  value: Maybe<number>;
  met: Maybe<boolean>;
  over_pct: Maybe<number>;
}

export interface SloState {
  slo: Record<string, unknown>;
  version: number;
  source: string;
}

export interface HostType {
  name: string;
  count: number;
  cpu: { coreCount: number; coreSpeed: number };
}

export interface Topology {
  clusters: { name: string; hosts: HostType[] }[];
}

export interface TopologyState {
  current_topology: Maybe<Topology>;
}

export interface Outcome {
  energy_kwh: number;
  carbon_kg: number;
  peak_power_kw: number;
  runtime_h: number;
  queue_delay_s: number;
  tasks_completed: number;
  tasks_lost: number;
}

export interface Variant extends Partial<Outcome> {
  name: string;
  state: "complete" | "failed";
  reason?: Maybe<string>;
  delta_pct?: Record<keyof Outcome, Maybe<number>>;
  effect?: string;
  meets_slos?: Maybe<boolean>;
}

export interface WhatIf {
  baseline: Outcome;
  variants: Variant[];
  workload: { tasks?: number; fragments?: number };
  wall_s: number;
}

export interface SqlResult {
  columns: { name: string; type: string }[];
  rows: unknown[][];
  truncated: boolean;
  elapsed_s: number;
}

export interface GalleryQuery {
  name: string;
  title: string;
  sql: string;
}

export interface Info {
  version: string;
  datacenter: string;
  lake: string;
  changes_need_token: boolean;
  allocation_policies: string[];
}
