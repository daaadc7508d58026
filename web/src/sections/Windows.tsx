// Windows as they were committed: how long each took, what ran, and what came late or twice.

import { useMemo } from "preact/hooks";
import { get } from "../api/client";
import type { Page, Window } from "../api/types";
import { Chart } from "../charts/Chart";
import { base, held, insideZoom, line, timeAxis, tooltip, valueAt, valueAxis, type Point } from "../charts/parts";
import { colours, type Colours } from "../charts/theme";
import { ago, int, moment, num, pct } from "../format";
import { useResource } from "../resource";
import { clock, extent, run, runPath, type Range } from "../state";
import { Download } from "../ui/Download";
import { Content, Section } from "../ui/Section";
import { Table } from "../ui/Table";

const SHOWN_ROWS = 8;

export function Windows() {
  const windows = useResource(async (signal) => {
    const params = { datacenter: run.value?.datacenter, limit: 1_000 };
    const first = await get<Page<Window>>(runPath("/windows"), params, signal);
    if (first.total <= first.items.length) return first;
    return get<Page<Window>>(runPath("/windows"), { ...params, offset: first.total - 1_000 }, signal);
  });
  const look = colours.value;
  const whole = extent.value ?? null;
  const rows = windows.data?.items;
  const option = useMemo(() => rows && toOption(rows, look, whole), [rows, look, whole]);
  return (
    <Section id="windows" title="Windows and lag" note={rows?.length ? lag(rows) : null}
      actions={<Download what="windows" path={() => runPath("/windows")}
        params={() => ({ datacenter: run.peek()?.datacenter, limit: 1_000 })} />}>
      <Content of={windows} empty={(found) => !found.items.length}
        emptyText="No window has been committed yet. A window closes when every partition has passed its end.">
        {(found) => (
          <>
            <Chart option={option!} overTime label={`Chart of time per window and tasks. ${lag(found.items)}.`} />
            <Counts rows={found.items} />
            <details>
              <summary>Latest windows</summary>
              <Table label="Latest windows" rows={found.items.slice(-SHOWN_ROWS).reverse()}
                keyOf={(row) => String(row.window_index)}
                columns={[
                  { name: "no.", number: true, of: (row) => int(row.window_index) },
                  { name: "start", of: (row) => moment(row.start, true) },
                  { name: "tasks", number: true, of: (row) => int(row.tasks_arrived) },
                  { name: "running", number: true, of: (row) => int(row.tasks_running) },
                  { name: "waiting", number: true, of: (row) => int(row.tasks_waiting) },
                  { name: "error", number: true, of: (row) => pct(row.mape_pct) },
                  { name: "took", number: true, of: (row) => num(row.wall_ms, 0, "ms") },
                  { name: "state", of: (row) => row.state },
                ]} />
            </details>
          </>
        )}
      </Content>
    </Section>
  );
}

function Counts({ rows }: { rows: Window[] }) {
  const sum = (name: "late_records" | "duplicate_records" | "dead_letters"): number =>
    rows.reduce((total, row) => total + row[name], 0);
  return (
    <dl class="counts">
      <div><dt>late records</dt><dd>{int(sum("late_records"))}</dd></div>
      <div><dt>duplicates</dt><dd>{int(sum("duplicate_records"))}</dd></div>
      <div><dt>not understood</dt><dd>{int(sum("dead_letters"))}</dd></div>
      <div><dt>median per window</dt><dd>{num(median(rows.map((row) => row.wall_ms ?? 0)), 0, "ms")}</dd></div>
    </dl>
  );
}

function median(values: number[]): number | null {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? null;
}

function lag(rows: Window[]): string {
  const last = rows.at(-1)!;
  return `window ${int(last.window_index)} committed ${ago(last.committed, clock.value)}`;
}

function toOption(rows: Window[], look: Colours, whole: Range | null): object {
  const column = (name: "wall_ms" | "tasks_running" | "tasks_waiting"): Point[] =>
    held(rows.map((row): Point => [Date.parse(row.start), row[name]]), Date.parse(rows.at(-1)?.end ?? ""));
  const wall = column("wall_ms");
  const running = column("tasks_running");
  const waiting = column("tasks_waiting");
  return {
    ...base(),
    grid: [
      { left: 52, right: 18, top: 28, bottom: "56%" },
      { left: 52, right: 18, top: "56%", bottom: 28 },
    ],
    xAxis: [timeAxis(look, whole, 0, false), timeAxis(look, whole, 1)],
    yAxis: [
      valueAxis(look, { name: "time per window [ms]", splits: 3 }),
      valueAxis(look, { name: "tasks running, waiting", grid: 1, splits: 3 }),
    ],
    axisPointer: { link: [{ xAxisIndex: "all" }] },
    tooltip: tooltip(look, (at) => [
      { name: "took", colour: look.good, text: num(valueAt(wall, at), 0, "ms") },
      { name: "running", colour: look.simulated, text: int(valueAt(running, at)) },
      { name: "waiting", colour: look.given, text: int(valueAt(waiting, at)) },
    ]),
    dataZoom: [insideZoom([0, 1])],
    series: [
      line({ name: "took", data: wall, colour: look.good, step: true, area: 0.15 }),
      line({ name: "running", data: running, colour: look.simulated, grid: 1, step: true }),
      line({ name: "waiting", data: waiting, colour: look.given, grid: 1, step: true, dash: "dashed" }),
    ],
  };
}
