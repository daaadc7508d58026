// What if: sliders change the topology, the engine simulates the run's workload on it, nothing else changes.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { ApiError, get, send } from "../api/client";
import type { HostType, Outcome, Topology, TopologyState, WhatIf as Answer } from "../api/types";
import { int, num, plural, signed } from "../format";
import { useResource } from "../resource";
import { info, run } from "../state";
import { Content, Section } from "../ui/Section";
import { tone } from "./Proposals";

const WAIT_MS = 350;
const PERIODS = [
  { hours: 24, label: "the last 24 hours" },
  { hours: 72, label: "the last 3 days" },
  { hours: null, label: "the whole run" },
] as const;

const METRICS: { name: keyof Outcome; label: string; unit: string; digits: number }[] = [
  { name: "energy_kwh", label: "Energy", unit: "kWh", digits: 1 },
  { name: "carbon_kg", label: "Carbon", unit: "kg", digits: 1 },
  { name: "peak_power_kw", label: "Peak power", unit: "kW", digits: 2 },
  { name: "runtime_h", label: "Runtime", unit: "h", digits: 1 },
  { name: "queue_delay_s", label: "Mean wait", unit: "s", digits: 1 },
  { name: "tasks_completed", label: "Tasks completed", unit: "", digits: 0 },
  { name: "tasks_lost", label: "Tasks that never run", unit: "", digits: 0 },
];

interface Place {
  path: string;
  label: string;
  host: HostType;
}

export function WhatIf() {
  const topology = useResource((signal) => get<TopologyState>("/api/topology", {}, signal));
  return (
    <Section id="what-if" title="What if" wide note="simulated on this run's workload; changes nothing">
      <Content of={topology} empty={(found) => !places(found.current_topology).length}
        emptyText="No topology is known yet: it arrives with the first run.">
        {(found) => <Form key={`${run.value?.run_id} ${JSON.stringify(found.current_topology)}`} places={places(found.current_topology)} />}
      </Content>
    </Section>
  );
}

function places(topology: Topology | null): Place[] {
  return (topology?.clusters ?? []).flatMap((cluster, c) =>
    cluster.hosts.map((host, h): Place => ({
      path: `clusters[${c}].hosts[${h}]`, label: `${cluster.name} / ${host.name}`, host,
    })));
}

interface Setting {
  field: string;
  label: string;
  unit: string;
  now: number;
  min: number;
  max: number;
  step: number;
}

function settingsOf(host: HostType): Setting[] {
  const speed = Math.round(host.cpu.coreSpeed);
  return [
    { field: "count", label: "Hosts", unit: "", now: host.count, min: 1, max: Math.max(4, Math.ceil(host.count * 1.5)), step: 1 },
    { field: "cpu.coreCount", label: "Cores per host", unit: "", now: host.cpu.coreCount, min: 1,
      max: Math.max(4, host.cpu.coreCount * 2), step: 1 },
    { field: "cpu.coreSpeed", label: "Core speed", unit: "MHz", now: speed, min: Math.max(100, Math.round(speed / 200) * 100),
      max: Math.round((speed * 1.5) / 100) * 100, step: 50 },
  ];
}

function Form({ places: all }: { places: Place[] }) {
  const [values, setValues] = useState<Record<string, number>>({});
  const [at, setAt] = useState(0);
  const [policy, setPolicy] = useState("");
  const [hours, setHours] = useState<number | null>(24);
  const place = all[at] ?? all[0]!;
  const settings = useMemo(() => settingsOf(place.host), [place]);
  const reply = useAnswer(values, policy, hours);
  const reset = (): void => {
    setValues({});
    setPolicy("");
  };
  const change = (path: string, value: number, now: number): void => {
    const next = { ...values };
    if (value === now) delete next[path];
    else next[path] = value;
    setValues(next);
  };
  return (
    <div class="whatif">
      <form onSubmit={(event) => event.preventDefault()} aria-label="What if">
        {all.length > 1 ? (
          <label class="field">Host type
            <select value={String(at)} onChange={(event) => setAt(Number(event.currentTarget.value))}>
              {all.map((one, index) => <option key={one.path} value={String(index)}>{one.label}</option>)}
            </select>
          </label>
        ) : <p class="field"><b>{place.label}</b></p>}
        {settings.map((one) => {
          const path = `${place.path}.${one.field}`;
          const value = values[path] ?? one.now;
          return (
            <div class="slider" key={path}>
              <label for={path}>{one.label}</label>
              <output for={path}>{num(value, 0, one.unit)}{value === one.now ? "" : ` (now ${num(one.now, 0)})`}</output>
              <input id={path} type="range" min={one.min} max={one.max} step={one.step} value={value}
                onInput={(event) => change(path, Number(event.currentTarget.value), one.now)} />
            </div>
          );
        })}
        <label class="field">Placement
          <select value={policy} onChange={(event) => setPolicy(event.currentTarget.value)}>
            <option value="">as it is</option>
            {(info.value?.allocation_policies ?? []).map((name) => <option key={name}>{name}</option>)}
          </select>
        </label>
        <label class="field">Workload of
          <select value={String(hours)} onChange={(event) => {
            const text = event.currentTarget.value;
            setHours(text === "null" ? null : Number(text));
          }}>
            {PERIODS.map((one) => <option key={one.label} value={String(one.hours)}>{one.label}</option>)}
          </select>
        </label>
        <button type="button" class="quiet" onClick={reset}>Back to the present topology</button>
      </form>
      <Result reply={reply} />
    </div>
  );
}

interface Reply {
  state: "idle" | "busy" | "done" | "failed";
  answer: Answer | null;
  error: string;
}

/** Ask as soon as the sliders have been still for a moment; a newer question cancels an older one. */
function useAnswer(values: Record<string, number>, policy: string, hours: number | null): Reply {
  const [reply, setReply] = useState<Reply>({ state: "idle", answer: null, error: "" });
  const asked = useRef<AbortController | null>(null);
  const shown = run.value;
  useEffect(() => {
    asked.current?.abort();
    if (!shown || (!Object.keys(values).length && !policy)) {
      setReply({ state: "idle", answer: null, error: "" });
      return;
    }
    const abort = new AbortController();
    asked.current = abort;
    const timer = window.setTimeout(() => {
      setReply((before) => ({ ...before, state: "busy" }));
      const question = {
        run_id: shown.run_id, datacenter: shown.datacenter, last_hours: hours,
        variants: [{ name: "what if", changes: values, allocation: policy || null }],
      };
      send<Answer>("POST", "/api/whatif", question, abort.signal).then(
        (answer) => setReply({ state: "done", answer, error: "" }),
        (error: unknown) => {
          if (abort.signal.aborted) return;
          setReply({ state: "failed", answer: null, error: error instanceof ApiError ? error.message : String(error) });
        },
      );
    }, WAIT_MS);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [values, policy, hours, shown?.run_id, shown?.datacenter]);
  return reply;
}

function Result({ reply }: { reply: Reply }) {
  const { answer } = reply;
  const variant = answer?.variants[0];
  if (reply.state === "failed") return <div class="failure" role="alert"><p>{reply.error}</p></div>;
  if (!answer || !variant) {
    return (
      <div class="hold empty" role="status">
        {reply.state === "busy" ? <span class="spin" /> : "Move a slider: energy, carbon, waiting and peak appear here within a second."}
      </div>
    );
  }
  if (variant.state === "failed") return <div class="failure" role="alert"><p>{variant.reason}</p></div>;
  const { tasks, fragments } = answer.workload;
  return (
    <div class={`result${reply.state === "busy" ? " busy" : ""}`} aria-live="polite">
      <p class="effect">{variant.effect ?? ""}</p>
      <div class="scroll" tabIndex={0} role="region" aria-label="What-if result">
        <table>
          <thead><tr><th scope="col">Metric</th><th scope="col" class="n">now</th><th scope="col" class="n">what if</th><th scope="col" class="n">change</th></tr></thead>
          <tbody>
            {METRICS.map(({ name, label, unit, digits }) => {
              const change = variant.delta_pct?.[name];
              const better = name === "tasks_completed" ? -(change ?? 0) : change;
              return (
                <tr key={name}>
                  <th scope="row">{label}</th>
                  <td class="n">{num(answer.baseline[name], digits, unit)}</td>
                  <td class="n"><b>{num(variant[name], digits, unit)}</b></td>
                  <td class={`n ${tone(better)}`}>{signed(change, 1, "%")}</td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
      <p class="note">
        {tasks === undefined ? "" : `${plural(tasks, "task")}, ${int(fragments)} fragments, simulated in `}
        {num(answer.wall_s, 2, "s")}
      </p>
    </div>
  );
}
