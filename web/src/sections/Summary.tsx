// The run in eight numbers.

import type { ComponentChildren } from "preact";
import type { Run } from "../api/types";
import { duration, int, num, pct, plural } from "../format";

export function Summary({ run }: { run: Run }) {
  const better = run.mape_pct !== null && run.persistence_mape_pct !== null
    ? run.mape_pct < run.persistence_mape_pct : null;
  return (
    <section class="tiles" id="summary" aria-label="Summary of the run">
      <Tile name="Energy, simulated" value={num(run.energy_kwh, 1, "kWh")}
        note={`measured ${num(run.energy_measured_kwh, 1, "kWh")}`} />
      <Tile name="Error (MAPE)" value={pct(run.mape_pct)}
        note={<>persistence {pct(run.persistence_mape_pct)}{better === null ? "" : better ? <b class="good"> · beaten</b> : <b class="bad"> · not beaten</b>}</>} />
      <Tile name="Carbon" value={num(run.carbon_kg, 1, "kg")} note="CO₂ of the simulated energy" />
      <Tile name="Peak power" value={num(run.peak_power_kw, 2, "kW")} note="highest simulated sample" />
      <Tile name="Windows" value={int(run.windows)} note={run.wall_s === null ? "so far" : `in ${duration(run.wall_s)}`} />
      <Tile name="Tasks run" value={int(run.tasks_run)}
        note={`of ${int(run.tasks_seen)}; ${plural(run.tasks_dropped ?? 0, "task")} dropped`} />
      <Tile name="Mean wait" value={num(run.mean_wait_s, 1, "s")} note={`runtime ${num(run.runtime_h, 1, "h")}`} />
      <Tile name="Error, uncalibrated" value={pct(run.uncalibrated_mape_pct)} note="with the topology as given" />
    </section>
  );
}

function Tile({ name, value, note }: { name: string; value: string; note: ComponentChildren }) {
  return (
    <dl class="tile">
      <dt>{name}</dt>
      <dd class="tile-value">{value}</dd>
      <dd class="tile-note">{note}</dd>
    </dl>
  );
}
