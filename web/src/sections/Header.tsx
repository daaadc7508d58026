// Which run, how it is doing, and the few things that concern the whole page.

import { choice, isDark } from "../charts/theme";
import { duration, moment } from "../format";
import { useResource } from "../resource";
import { choose, keyOf, link, run, runPath, runs } from "../state";
import { get } from "../api/client";
import type { FlowRun, Run } from "../api/types";

export function Header() {
  const all = runs.value ?? [];
  const shown = run.value;
  return (
    <header class="top">
      <div class="top-in">
        <a class="brand" href="#summary">
          <svg viewBox="0 0 32 32" aria-hidden="true"><rect width="32" height="32" rx="7" /><path d="M5 20h4l3-9 5 14 4-11 2 6h4" /></svg>
          OpenDT
        </a>
        {all.length ? (
          <label class="run-pick">
            <span class="sr">Run</span>
            <select value={shown ? keyOf(shown) : ""} onChange={(event) => choose(event.currentTarget.value)}>
              {all.map((one) => <option key={keyOf(one)} value={keyOf(one)}>{title(one)}</option>)}
            </select>
          </label>
        ) : null}
        {shown ? <Status run={shown} /> : null}
        <span class="grow" />
        <Link />
        <FlowRunLink />
        <a class="link" href="/docs">API</a>
        <button type="button" class="quiet icon" onClick={() => (choice.value = isDark.value ? "light" : "dark")}
          aria-label={isDark.value ? "Use light colours" : "Use dark colours"}>
          {isDark.value ? "☀" : "☾"}
        </button>
      </div>
    </header>
  );
}

function title(one: Run): string {
  return `${moment(one.started, true)} · ${one.trace ?? one.kind} · ${one.run_id}`;
}

/** A link to the run in Prefect, where its server answers and knows it. */
function FlowRunLink() {
  const found = useResource<FlowRun>((signal) =>
    run.value ? get(runPath("/flow-run"), { datacenter: run.value.datacenter }, signal) : null);
  const url = found.data?.url;
  if (!url || !/^https?:\/\//.test(url)) return null;
  return (
    <a class="link" id="flow-run" href={url} target="_blank" rel="noreferrer noopener"
      title={`${found.data?.name}: ${found.data?.state}`}>Prefect</a>
  );
}

function Status({ run: one }: { run: Run }) {
  const took = one.ended ? (Date.parse(one.ended) - Date.parse(one.started)) / 1_000 : null;
  const text = one.state === "running" ? `running since ${moment(one.started, true)} UTC` : one.state;
  return (
    <span class={`badge badge-${one.state}`} id="run-state" title={took === null ? "" : `took ${duration(took)}`}>{text}</span>
  );
}

function Link() {
  const words = { connecting: "connecting", open: "live", lost: "connection lost" } as const;
  const state = link.value;
  return <span class={`live live-${state}`} role="status" id="live-state"><i />{words[state]}</span>;
}
