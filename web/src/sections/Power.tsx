// Simulated and measured power with the prediction band, and the error below on the same time axis.

import { useMemo, useState } from "preact/hooks";
import { get } from "../api/client";
import type { PowerPoint, Series } from "../api/types";
import { Chart } from "../charts/Chart";
import { band, base, insideZoom, line, timeAxis, tooltip, valueAt, valueAxis, type Point, type TipRow } from "../charts/parts";
import { colours, type Colours } from "../charts/theme";
import { num, pct, plural, signed, stepFor } from "../format";
import { useResource } from "../resource";
import { extent, run, runPath, settledZoom, shown, type Range } from "../state";
import { Download } from "../ui/Download";
import { Legend, toggled, type LegendItem } from "../ui/Legend";
import { Content, Section } from "../ui/Section";

const POINTS = 900;
const KW = 1_000;

interface Lines {
  simulated: Point[];
  measured: Point[];
  given: Point[];
  persistence: Point[];
  low: Point[];
  high: Point[];
  error: Point[];
}

export function Power() {
  const power = useResource((signal) => load(signal));
  const [hidden, setHidden] = useState<ReadonlySet<string>>(new Set(["persistence"]));
  const look = colours.value;
  const whole = extent.value ?? null;
  const lines = useMemo(() => (power.data ? toLines(power.data.data) : null), [power.data]);
  const option = useMemo(() => lines && toOption(lines, hidden, look, whole), [lines, hidden, look, whole]);
  const items = legend(lines, look);
  return (
    <Section id="power" title="Power" wide
      note={power.data ? spacing(power.data) : null}
      actions={<Download what="power" path={() => runPath("/power")} params={spanParams} />}>
      <Content of={power} size="tall" empty={(found) => !found.data.length}
        emptyText="No samples yet: they appear when the first window is committed.">
        {() => (
          <>
            <Legend items={items} hidden={hidden} toggle={(name) => setHidden(toggled(hidden, name))} />
            <Chart option={option!} size="tall" overTime label={describe(lines!)} />
          </>
        )}
      </Content>
    </Section>
  );
}

/** The whole run coarsely, and the period zoomed to finely. */
function load(signal: AbortSignal): Promise<Series<PowerPoint>> | null {
  const outer = extent.value;
  const inner = settledZoom.value;
  return outer === undefined ? null : loadBoth(run.value?.datacenter, outer, inner, signal);
}

async function loadBoth(
  datacenter: string | undefined, outer: Range | null, inner: Range | null, signal: AbortSignal,
): Promise<Series<PowerPoint>> {
  const path = runPath("/power");
  const first = { datacenter, interval_seconds: outer ? stepFor(outer.to - outer.from, POINTS) : 600 };
  if (!inner || !outer) return get<Series<PowerPoint>>(path, first, signal);
  const wanted = { datacenter, interval_seconds: stepFor(inner.to - inner.from, POINTS), ...times(inner) };
  const [coarse, fine] = await Promise.all([
    get<Series<PowerPoint>>(path, first, signal),
    get<Series<PowerPoint>>(path, wanted, signal),
  ]);
  const before = coarse.data.filter((point) => Date.parse(point.time) < inner.from);
  const after = coarse.data.filter((point) => Date.parse(point.time) >= inner.to);
  return { data: [...before, ...fine.data, ...after], metadata: fine.metadata };
}

export function times(range: Range): { start_time: string; end_time: string } {
  return { start_time: new Date(range.from).toISOString(), end_time: new Date(range.to).toISOString() };
}

export function spanParams(): Record<string, string | number | undefined> {
  const range = shown.peek();
  return { datacenter: run.peek()?.datacenter, interval_seconds: 60, ...(range ? times(range) : {}) };
}

export function stepText(seconds: number): string {
  if (seconds < 60) return num(seconds, 0, "s");
  return seconds < 3_600 ? num(seconds / 60, 0, "min") : num(seconds / 3_600, 0, "h");
}

/** How far apart the points are: means where the interval asked for is longer than that of the samples. */
function spacing({ data, metadata }: Series<PowerPoint>): string {
  const gaps = data.slice(1).map((point, i) => (Date.parse(point.time) - Date.parse(data[i]!.time)) / 1_000);
  const least = gaps.length ? Math.min(...gaps) : 0;
  const asked = metadata.interval_seconds;
  return least > asked ? `samples every ${stepText(least)}` : `means of ${stepText(asked)}`;
}

function toLines(points: PowerPoint[]): Lines {
  const at = points.map((point) => Date.parse(point.time));
  const kw = (name: keyof PowerPoint): Point[] =>
    points.map((point, i): Point => [at[i]!, typeof point[name] === "number" ? point[name] / KW : null]);
  const error = points.map((point, i): Point => [
    at[i]!,
    point.simulated_w !== null && point.measured_w ? 100 * (point.simulated_w / point.measured_w - 1) : null,
  ]);
  return {
    simulated: kw("simulated_w"), measured: kw("measured_w"), given: kw("uncalibrated_w"),
    persistence: kw("persistence_w"), low: kw("band_low_w"), high: kw("band_high_w"), error,
  };
}

const known = (points: Point[]): boolean => points.some((point) => point[1] !== null);

function legend(lines: Lines | null, look: Colours): LegendItem[] {
  if (!lines) return [];
  const all: [keyof Lines, LegendItem][] = [
    ["simulated", { name: "simulated", colour: look.simulated, mark: "line" }],
    ["measured", { name: "measured", colour: look.measured, mark: "broad" }],
    ["low", { name: "90 % band", colour: look.band, mark: "fill" }],
    ["given", { name: "topology as given", colour: look.given, mark: "dashed" }],
    ["persistence", { name: "persistence", colour: look.persistence, mark: "dotted" }],
  ];
  return all.filter(([name]) => known(lines[name])).map(([, item]) => item);
}

// Broad and pale below the others: a good model lies right on it, and both can still be seen.
const MEASURED = { width: 5, opacity: 0.4, z: 2 };

function toOption(lines: Lines, hidden: ReadonlySet<string>, look: Colours, whole: Range | null): object {
  const see = (name: string): boolean => !hidden.has(name);
  const series: object[] = [];
  // The first line is the one in the slider and under the keyboard's cursor.
  if (see("simulated")) series.push(line({ name: "simulated", data: lines.simulated, colour: look.simulated, width: 1.8, z: 5 }));
  if (see("measured")) series.push(line({ name: "measured", data: lines.measured, colour: look.measured, ...MEASURED }));
  if (see("topology as given")) {
    series.push(line({ name: "topology as given", data: lines.given, colour: look.given, width: 1.2, dash: "dashed" }));
  }
  if (see("persistence")) {
    series.push(line({ name: "persistence", data: lines.persistence, colour: look.persistence, width: 1.2, dash: "dotted" }));
  }
  if (see("90 % band") && known(lines.low)) series.push(...band("90 % band", lines.low, lines.high, look.band));
  series.push(line({ name: "error", data: lines.error, colour: look.simulated, width: 1, grid: 1, area: 0.18 }));
  const reach = errorReach(lines.error);
  return {
    ...base(),
    grid: [
      { left: 52, right: 18, top: 30, bottom: 176 },
      { left: 52, right: 18, height: 72, bottom: 70 },
    ],
    xAxis: [timeAxis(look, whole, 0, false), timeAxis(look, whole, 1)],
    yAxis: [
      valueAxis(look, { name: "power [kW]", zero: false, splits: 5 }),
      valueAxis(look, { name: "error [%]", grid: 1, min: -reach, max: reach, splits: 2 }),
    ],
    axisPointer: { link: [{ xAxisIndex: "all" }] },
    tooltip: tooltip(look, (at) => tipRows(lines, look, at)),
    dataZoom: [
      insideZoom([0, 1]),
      {
        id: "slider", type: "slider", xAxisIndex: [0, 1], filterMode: "none", height: 26, bottom: 8, left: 52, right: 18,
        borderColor: look.line, fillerColor: "rgba(88, 140, 200, 0.16)", backgroundColor: "transparent",
        dataBackground: { lineStyle: { color: look.soft, opacity: 0.6 }, areaStyle: { color: look.soft, opacity: 0.15 } },
        selectedDataBackground: { lineStyle: { color: look.simulated }, areaStyle: { color: look.simulated, opacity: 0.15 } },
        handleStyle: { color: look.card, borderColor: look.simulated }, moveHandleSize: 0, showDetail: false,
        brushSelect: true, minValueSpan: 600_000,
      },
    ],
    series,
  };
}

const REACHES_PCT = [1, 2, 5, 10, 20, 50, 100];

function errorReach(error: Point[]): number {
  const found = error.map((point) => Math.abs(point[1] ?? 0)).sort((a, b) => a - b);
  const usual = found[Math.floor(found.length * 0.95)] ?? 0;
  return REACHES_PCT.find((reach) => reach >= usual) ?? Math.ceil(usual / 100) * 100;
}

function tipRows(lines: Lines, look: Colours, at: number): TipRow[] {
  const kw = (points: Point[]): string => num(valueAt(points, at), 2, "kW");
  const rows: TipRow[] = [
    { name: "simulated", colour: look.simulated, text: kw(lines.simulated) },
    { name: "measured", colour: look.measured, text: kw(lines.measured) },
    { name: "error", text: signed(valueAt(lines.error, at), 2, "%") },
    { name: "topology as given", colour: look.given, text: kw(lines.given) },
    { name: "persistence", colour: look.persistence, text: kw(lines.persistence) },
  ];
  if (valueAt(lines.low, at) !== null) {
    const text = `${num(valueAt(lines.low, at), 2)} to ${kw(lines.high)}`;
    rows.splice(2, 0, { name: "90 % band", colour: look.band, text });
  }
  return rows;
}

function describe(lines: Lines): string {
  const last = lines.simulated.at(-1);
  const errors = lines.error.filter((point) => point[1] !== null).map((point) => Math.abs(point[1]!));
  const mean = errors.length ? errors.reduce((sum, value) => sum + value, 0) / errors.length : null;
  return `Chart of simulated and measured power over time, ${plural(lines.simulated.length, "point")}. ` +
    `Last simulated value ${num(last?.[1], 2, "kW")}; mean error ${pct(mean)}.`;
}
