// What was calibrated, when, on what evidence, and whether it came into force.

import { useMemo } from "preact/hooks";
import { get } from "../api/client";
import type { Calibration as Row, Page } from "../api/types";
import { Chart } from "../charts/Chart";
import { base, held, insideZoom, line, timeAxis, tooltip, valueAt, valueAxis, type Point } from "../charts/parts";
import { colours, type Colours } from "../charts/theme";
import { moment, num, pct } from "../format";
import { useResource } from "../resource";
import { extent, run, runPath, type Range } from "../state";
import { Download } from "../ui/Download";
import { Content, Section } from "../ui/Section";
import { Table } from "../ui/Table";

const MOST_STRIPS = 4;
const LEAST_STRIP_PX = 92;
const LEAST_PX = 300;
const EDGES_PX = 58;
const SHOWN_ROWS = 8;

interface Strip {
  name: string;
  lines: Point[][];
}

export function Calibration() {
  const calibrations = useResource(async (signal) => {
    const params = { datacenter: run.value?.datacenter, limit: 1_000 };
    const first = await get<Page<Row>>(runPath("/calibrations"), params, signal);
    if (first.total <= first.items.length) return first;
    return get<Page<Row>>(runPath("/calibrations"), { ...params, offset: first.total - 1_000 }, signal);
  });
  const look = colours.value;
  const whole = extent.value ?? null;
  const rows = calibrations.data?.items;
  const strips = useMemo(() => (rows ? toStrips(rows, whole?.to) : []), [rows, whole]);
  const option = useMemo(() => rows && toOption(rows, strips, look, whole), [rows, strips, look, whole]);
  return (
    <Section id="calibration" title="Calibration" note={rows?.length ? summary(rows) : null}
      actions={<Download what="calibrations" path={() => runPath("/calibrations")}
        params={() => ({ datacenter: run.peek()?.datacenter, limit: 1_000 })} />}>
      <Content of={calibrations} empty={(found) => !found.items.length}
        emptyText={<>Not calibrated yet. The first calibration follows the first window with measurements; <code>calibration.mode</code> turns it on.</>}>
        {(found) => (
          <>
            <Chart option={option!} overTime height={heightOf(strips.length + 1)}
              label={`Chart of ${strips.length} calibrated parameters and their error over time.`} />
            <Latest rows={found.items} />
          </>
        )}
      </Content>
    </Section>
  );
}

function Latest({ rows }: { rows: Row[] }) {
  return (
    <details>
      <summary>Latest calibrations</summary>
      <Table label="Latest calibrations" rows={rows.slice(-SHOWN_ROWS).reverse()}
        keyOf={(row) => `${row.window_index} ${row.calibration_id}`}
        columns={[
          { name: "until", of: (row) => moment(row.trained_until, true) },
          { name: "method", of: (row) => row.method },
          { name: "curve", of: (row) => row.curve },
          { name: "error", number: true, of: (row) => pct(row.score_mape_pct) },
          { name: "held out", number: true, of: (row) => pct(row.heldout_mape_pct) },
          { name: "in force", of: (row) => (row.published ? "yes" : "no") },
          { name: "why", of: (row) => row.reason ?? "" },
        ]} />
    </details>
  );
}

function summary(rows: Row[]): string {
  const published = rows.filter((row) => row.published).length;
  const last = rows.at(-1)!;
  return `${last.method}, ${published} of ${rows.length} put in force`;
}

const heightOf = (strips: number): number => Math.max(LEAST_PX, EDGES_PX + LEAST_STRIP_PX * strips);

const timeOf = (row: Row): number => Date.parse(row.trained_until ?? "");

function toStrips(rows: Row[], until: number | undefined): Strip[] {
  const parsed = rows.map((row) => groups(row.parameters_json));
  const names = [...new Set(parsed.flatMap((one) => [...one.keys()]))].sort(byMeaning).slice(0, MOST_STRIPS);
  return names.map((path) => {
    const leaves = [...new Set(parsed.flatMap((one) => [...(one.get(path)?.keys() ?? [])]))];
    const lines = leaves.map((leaf) => held(rows.map((row, i): Point =>
      [timeOf(row), row.published ? parsed[i]!.get(path)?.get(leaf) ?? null : null]), until));
    return { name: titleOf(path), lines };
  });
}

/** Watts before everything else, for they can be compared with a data sheet. */
function byMeaning(a: string, b: string): number {
  const rank = (path: string): number => (path.endsWith("_w") ? 0 : path.endsWith("Factor") ? 1 : 2);
  return rank(a) - rank(b);
}

/** The last part of a path, with what it belongs to where that is a host type. */
function titleOf(path: string): string {
  const parts = path.split(SEPARATOR);
  const own = parts.at(-1) ?? path;
  const of = parts.length > 2 ? ` of ${parts.at(-2)}` : "";
  return `${(own.split(".").at(-1) ?? own).replace(/_w$/, " [W]").replaceAll("_", " ")}${of}`;
}

const SEPARATOR = "\u0000";

/**
 * Numbers of a JSON object: lists and mappings of nothing but numbers stay together, under their path. Lists of
 * mappings are records, as of drift, and no parameters.
 */
function groups(text: string): Map<string, Map<string, number>> {
  const found = new Map<string, Map<string, number>>();
  const put = (path: string[], leaf: string, value: number): void => {
    const key = path.join(SEPARATOR);
    found.set(key, (found.get(key) ?? new Map<string, number>()).set(leaf, value));
  };
  const walk = (value: unknown, path: string[]): void => {
    if (!value || typeof value !== "object") return;
    if (Array.isArray(value) && value.some((inner) => typeof inner === "object")) return;
    const entries = Object.entries(value);
    const together = path.length > 0 && entries.length > 1 && entries.every(([, inner]) => typeof inner === "number");
    for (const [name, inner] of entries) {
      if (typeof inner !== "number") walk(inner, [...path, name]);
      else if (together) put(path, name, inner);
      else put([...path, name], "", inner);
    }
  };
  try {
    walk(JSON.parse(text), []);
  } catch {
    // Parameters that are not JSON have no numbers to draw; the table still shows the calibration.
  }
  return found;
}

/** The value of a strip at a time: one number, or from the smallest to the largest. */
function textAt(strip: Strip, at: number): string {
  const values = strip.lines.map((points) => valueAt(points, at)).filter((value): value is number => value !== null);
  if (values.length < 2) return num(values[0], 3);
  return `${num(Math.min(...values), 2)} to ${num(Math.max(...values), 2)}`;
}

function toOption(rows: Row[], strips: Strip[], look: Colours, whole: Range | null): object {
  const count = strips.length + 1;
  const all = [...Array(count).keys()];
  const score = held(rows.map((row): Point => [timeOf(row), row.score_mape_pct]), whole?.to);
  const heldout = held(rows.map((row): Point => [timeOf(row), row.heldout_mape_pct]), whole?.to);
  const stripPx = (heightOf(count) - EDGES_PX) / count;
  const top = (index: number): number => 28 + index * stripPx;
  return {
    ...base(),
    grid: all.map((index) => ({ left: 52, right: 18, top: top(index), height: stripPx - 36 })),
    xAxis: all.map((index) => timeAxis(look, whole, index, index === count - 1)),
    yAxis: [
      ...strips.map((strip, grid) => valueAxis(look, { name: strip.name, grid, zero: false, splits: 2 })),
      valueAxis(look, { name: "error it was chosen with [%]", grid: count - 1, splits: 2 }),
    ],
    axisPointer: { link: [{ xAxisIndex: "all" }] },
    tooltip: tooltip(look, (at) => [
      ...strips.map((strip) => ({ name: strip.name, colour: look.simulated, text: textAt(strip, at) })),
      { name: "error", colour: look.good, text: pct(valueAt(score, at)) },
      ...(heldout.some((p) => p[1] !== null) ? [{ name: "held out", colour: look.persistence, text: pct(valueAt(heldout, at)) }] : []),
    ]),
    dataZoom: [insideZoom(all)],
    series: [
      ...strips.flatMap((strip, grid) => strip.lines.map((data) =>
        line({ name: strip.name, data, colour: look.simulated, grid, step: true, width: strip.lines.length > 1 ? 1 : 1.5 }))),
      line({ name: "error", data: score, colour: look.good, grid: count - 1, step: true }),
      line({ name: "held out", data: heldout, colour: look.persistence, grid: count - 1, step: true, dash: "dotted" }),
    ],
  };
}
