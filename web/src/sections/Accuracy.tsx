// Error of each window: the twin beside persistence, the forecast that nothing changes.

import { useMemo, useState } from "preact/hooks";
import { get } from "../api/client";
import type { Accuracy as Row, Page } from "../api/types";
import { Chart } from "../charts/Chart";
import { base, held, insideZoom, line, timeAxis, tooltip, valueAt, valueAxis, type Point } from "../charts/parts";
import { colours, type Colours } from "../charts/theme";
import { pct } from "../format";
import { useResource } from "../resource";
import { extent, run, runPath, type Range } from "../state";
import { Download } from "../ui/Download";
import { Legend, toggled, type LegendItem } from "../ui/Legend";
import { Content, Section } from "../ui/Section";

const TWIN = "twin";
const PERSISTENCE = "persistence";
const GIVEN = "topology as given";

export function Accuracy() {
  const accuracy = useResource((signal) =>
    get<Page<Row>>(runPath("/accuracy"), { datacenter: run.value?.datacenter, limit: 1_000 }, signal));
  const [hidden, setHidden] = useState<ReadonlySet<string>>(new Set());
  const look = colours.value;
  const whole = extent.value ?? null;
  const rows = accuracy.data?.items;
  const option = useMemo(() => rows && toOption(rows, hidden, look, whole), [rows, hidden, look, whole]);
  const items: LegendItem[] = [
    { name: TWIN, colour: look.simulated, mark: "line" },
    { name: PERSISTENCE, colour: look.persistence, mark: "dotted" },
    { name: GIVEN, colour: look.given, mark: "dashed" },
  ];
  return (
    <Section id="accuracy" title="Accuracy" note="MAPE per window, beside persistence"
      actions={<Download what="accuracy" path={() => runPath("/accuracy")}
        params={() => ({ datacenter: run.peek()?.datacenter, limit: 1_000 })} />}>
      <Content of={accuracy} empty={(found) => !found.items.length}
        emptyText="No measured power yet, so nothing to compare the simulation with.">
        {(found) => (
          <>
            <Legend items={items} hidden={hidden} toggle={(name) => setHidden(toggled(hidden, name))} />
            <Chart option={option!} overTime label={describe(found.items)} />
          </>
        )}
      </Content>
    </Section>
  );
}

function series(rows: Row[], name: "mape_pct" | "persistence_mape_pct" | "uncalibrated_mape_pct"): Point[] {
  return rows.map((row): Point => [Date.parse(row.start), row[name]]);
}

const LEAST_PCT = 0.1;

/** Errors as drawn: what is below the axis stands on it. */
function drawn(points: Point[]): Point[] {
  return points.map(([at, value]): Point => [at, value === null ? null : Math.max(LEAST_PCT, value)]);
}

function toOption(rows: Row[], hidden: ReadonlySet<string>, look: Colours, whole: Range | null): object {
  const twin = held(series(rows, "mape_pct"), whole?.to);
  const persistence = held(series(rows, "persistence_mape_pct"), whole?.to);
  const given = held(series(rows, "uncalibrated_mape_pct"), whole?.to);
  const all = [
    line({ name: GIVEN, data: drawn(given), colour: look.given, dash: "dashed", width: 1.2, step: true }),
    line({ name: PERSISTENCE, data: drawn(persistence), colour: look.persistence, dash: "dotted", width: 1.6, step: true }),
    line({ name: TWIN, data: drawn(twin), colour: look.simulated, width: 1.8, step: true }),
  ];
  return {
    ...base(),
    grid: [{ left: 52, right: 18, top: 30, bottom: 28 }],
    xAxis: [timeAxis(look, whole)],
    yAxis: [valueAxis(look, { name: "MAPE [%], tenfold steps", log: true, min: LEAST_PCT })],
    tooltip: tooltip(look, (at) => [
      { name: TWIN, colour: look.simulated, text: pct(valueAt(twin, at)) },
      { name: PERSISTENCE, colour: look.persistence, text: pct(valueAt(persistence, at)) },
      { name: GIVEN, colour: look.given, text: pct(valueAt(given, at)) },
    ]),
    dataZoom: [insideZoom([0])],
    series: all.filter((one) => !hidden.has((one as { name: string }).name)),
  };
}

function describe(rows: Row[]): string {
  const scored = rows.filter((row) => row.mape_pct !== null && row.persistence_mape_pct !== null);
  const won = scored.filter((row) => row.mape_pct! < row.persistence_mape_pct!).length;
  return `Chart of the error per window. The twin was better than persistence in ${won} of ${scored.length} windows.`;
}
