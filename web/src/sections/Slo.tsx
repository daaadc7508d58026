// Service level objectives: what was promised, what the run reached, and a form to change the promise.

import { useState } from "preact/hooks";
import { ApiError, get, send } from "../api/client";
import type { Page, SloRow, SloState } from "../api/types";
import { num, signed } from "../format";
import { useResource } from "../resource";
import { run, runPath } from "../state";
import { Content, Section } from "../ui/Section";
import { withToken } from "../ui/TokenDialog";

const OBJECTIVES = [
  { name: "energy_kwh", label: "Energy", unit: "kWh", digits: 1 },
  { name: "runtime_h", label: "Runtime", unit: "h", digits: 1 },
  { name: "carbon_kg", label: "Carbon", unit: "kg", digits: 1 },
  { name: "peak_power_kw", label: "Peak power", unit: "kW", digits: 2 },
  { name: "queue_delay_s", label: "Mean wait", unit: "s", digits: 1 },
] as const;

const about = (name: string) => OBJECTIVES.find((one) => one.name === name);

export function Slo() {
  const rows = useResource((signal) =>
    get<Page<SloRow>>(runPath("/slo"), { datacenter: run.value?.datacenter }, signal));
  const targets = useResource((signal) => get<SloState>("/api/slo", {}, signal));
  const saved = (): void => {
    rows.retry();
    targets.retry();
  };
  return (
    <Section id="slo" title="Objectives" note={targets.data ? `version ${targets.data.version}, from ${targets.data.source}` : null}>
      <Content of={rows} size="low" empty={(found) => !found.items.length}
        emptyText="No targets were set. Set some below; the run is compared with them at once.">
        {(found) => <ul class="slos">{found.items.map((row) => <Objective key={row.objective} row={row} />)}</ul>}
      </Content>
      {targets.data ? <Targets key={targets.data.version} state={targets.data} saved={saved} /> : null}
    </Section>
  );
}

function Objective({ row }: { row: SloRow }) {
  const one = about(row.objective);
  const share = row.value === null || !row.target ? 0 : Math.min(1.25, row.value / row.target);
  const word = row.met === null ? "unknown" : row.met ? "met" : "missed";
  return (
    <li class={`slo ${word}`}>
      <div class="slo-head">
        <span>{one?.label ?? row.objective}</span>
        <span class={`badge badge-${word}`}>{word}</span>
      </div>
      <svg class="meter" viewBox="0 0 125 6" preserveAspectRatio="none" aria-hidden="true">
        <rect class="meter-back" width="125" height="6" />
        <rect class="meter-fill" width={share * 100} height="6" />
        <rect class="meter-goal" x="99.4" width="1.2" height="6" />
      </svg>
      <div class="slo-foot">
        <b>{num(row.value, one?.digits ?? 2, one?.unit)}</b> of {num(row.target, one?.digits ?? 2, one?.unit)}
        <span class="grow" />{signed(row.over_pct, 1, "%")}
      </div>
    </li>
  );
}

function Targets({ state, saved }: { state: SloState; saved: () => void }) {
  const [failed, setFailed] = useState("");
  const save = async (form: HTMLFormElement): Promise<void> => {
    const given = new FormData(form);
    const slo: Record<string, unknown> = { ...state.slo };
    for (const { name } of OBJECTIVES) {
      const text = String(given.get(name) ?? "").trim();
      slo[name] = text ? Number(text) : null;
    }
    try {
      await withToken(() => send<SloState>("PUT", "/api/slo", slo));
      setFailed("");
      saved();
    } catch (error) {
      setFailed(error instanceof ApiError ? error.message : String(error));
    }
  };
  return (
    <details>
      <summary>Set targets</summary>
      <form class="targets" onSubmit={(event) => { event.preventDefault(); void save(event.currentTarget); }}>
        {OBJECTIVES.map((one) => (
          <label key={one.name}>
            {one.label} [{one.unit}]
            <input type="number" name={one.name} min="0" step="any" placeholder="none"
              defaultValue={state.slo[one.name] === null || state.slo[one.name] === undefined ? "" : String(state.slo[one.name])} />
          </label>
        ))}
        <button type="submit" class="main">Save targets</button>
      </form>
      {failed ? <p class="bad" role="alert">{failed}</p> : null}
    </details>
  );
}
