// What rules, searches and language models propose, what simulation says about it, and the decision.

import { signal } from "@preact/signals";
import { useState } from "preact/hooks";
import { ApiError, get, send } from "../api/client";
import type { Page, Proposal } from "../api/types";
import { cell, moment, num, plural, signed } from "../format";
import { useResource } from "../resource";
import { run } from "../state";
import { Content, Section } from "../ui/Section";
import { withToken } from "../ui/TokenDialog";

const done = signal("");

export function Proposals() {
  const proposals = useResource((abort) => {
    const shown = run.value;
    if (!shown) return null;
    return get<Page<Proposal>>("/api/proposals",
      { run_id: shown.run_id, datacenter: shown.datacenter, limit: 50 }, abort);
  });
  const waiting = proposals.data?.items.filter((one) => one.state === "pending").length ?? 0;
  return (
    <Section id="proposals" title="Proposals" wide note={waiting ? `${plural(waiting, "proposal")} to decide about` : null}>
      <p class="sr" role="status">{done.value}</p>
      <Content of={proposals} empty={(found) => !found.items.length}
        emptyText={<>None for this run. They are made at its end; ask for more with <code>opendt optimize</code>.</>}>
        {(found) => (
          <ul class="proposals">
            {found.items.map((one) => <Card key={one.proposal_id} proposal={one} changed={proposals.retry} />)}
          </ul>
        )}
      </Content>
    </Section>
  );
}

function Card({ proposal, changed }: { proposal: Proposal; changed: () => void }) {
  const [busy, setBusy] = useState(false);
  const [failed, setFailed] = useState<ApiError | null>(null);
  const changes = Object.entries(proposal.changes ?? {});
  const decide = async (verb: "approve" | "reject", force = false): Promise<void> => {
    setBusy(true);
    try {
      const path = `/api/proposals/${encodeURIComponent(proposal.proposal_id)}/${verb}`;
      await withToken(() => send("POST", path, { decided_by: "dashboard", reason: "", force }));
      setFailed(null);
      done.value = `Proposal ${proposal.proposal_id} ${verb === "approve" ? "approved" : "rejected"}.`;
      changed();
    } catch (error) {
      setFailed(error instanceof ApiError ? error : new ApiError(0, "failed", String(error)));
    } finally {
      setBusy(false);
    }
  };
  return (
    <li class={`proposal ${proposal.state}`} data-proposal={proposal.proposal_id}>
      <div class="proposal-head">
        <h3>{title(proposal.strategy)}</h3>
        <span class={`badge badge-${proposal.state}`}>{proposal.state}</span>
        <code>{proposal.proposal_id}</code>
        <span class="grow" />
        <span class="note">{moment(proposal.created, true)}</span>
      </div>
      <Numbers proposal={proposal} />
      <ul class="changes">
        {changes.length ? changes.map(([path, value]) => (
          <li key={path}><code>{path}</code> → <b>{cell(value)}</b></li>
        )) : <li>keeps the topology as it is</li>}
      </ul>
      <ul class="reasons">
        {(proposal.reasons ?? []).map((reason) => <li key={reason}>{reason}</li>)}
        {proposal.fallback_reason ? <li>{proposal.fallback_reason}</li> : null}
      </ul>
      {failed ? (
        <p class="bad" role="alert">
          {failed.message}{" "}
          {failed.status === 409 && proposal.state === "pending" ? (
            <button type="button" disabled={busy} onClick={() => void decide("approve", true)}>Approve all the same</button>
          ) : null}
        </p>
      ) : null}
      {proposal.state === "pending" ? (
        <div class="buttons">
          <button type="button" class="main" disabled={busy} onClick={() => void decide("approve")}
            aria-label={`Approve proposal ${proposal.proposal_id}`}>Approve</button>
          <button type="button" disabled={busy} onClick={() => void decide("reject")}
            aria-label={`Reject proposal ${proposal.proposal_id}`}>Reject</button>
        </div>
      ) : null}
    </li>
  );
}

function title(strategy: string): string {
  const words: Record<string, string> = {
    "no-op": "Keep everything", rules: "Rules", bayesian: "Bayesian search", random: "Random search", llm: "Language model",
  };
  return words[strategy] ?? strategy;
}

function Numbers({ proposal: p }: { proposal: Proposal }) {
  const change = (value: number | null, from: number | null): number | null =>
    value === null || !from ? null : 100 * (value / from - 1);
  const energy = change(p.energy_kwh, p.baseline_energy_kwh);
  return (
    <dl class="counts">
      <div><dt>energy</dt><dd>{num(p.energy_kwh, 1, "kWh")} <small class={tone(energy)}>{signed(energy, 1, "%")}</small></dd></div>
      <div><dt>carbon</dt><dd>{num(p.carbon_kg, 1, "kg")} <small>{signed(change(p.carbon_kg, p.baseline_carbon_kg), 1, "%")}</small></dd></div>
      <div><dt>runtime</dt><dd>{num(p.runtime_h, 1, "h")} <small>{signed(change(p.runtime_h, p.baseline_runtime_h), 1, "%")}</small></dd></div>
      <div><dt>peak</dt><dd>{num(p.peak_power_kw, 1, "kW")}</dd></div>
      <div><dt>mean wait</dt><dd>{num(p.queue_delay_s, 1, "s")}</dd></div>
      {p.energy_low_kwh !== null && p.energy_high_kwh !== null ? (
        <div><dt>90 % band</dt><dd>{num(p.energy_low_kwh, 0)} to {num(p.energy_high_kwh, 0, "kWh")}</dd></div>
      ) : null}
    </dl>
  );
}

export function tone(change: number | null | undefined): string {
  if (change === null || change === undefined || Math.abs(change) < 0.05) return "";
  return change < 0 ? "good" : "bad";
}
