// Heat map of hosts: a row per host, a column per interval of the period shown.

import { signal } from "@preact/signals";
import { useMemo } from "preact/hooks";
import { get } from "../api/client";
import type { HeatMap } from "../api/types";
import { Chart } from "../charts/Chart";
import { base, tip } from "../charts/parts";
import { colours, type Colours } from "../charts/theme";
import { day, moment, num, plural, stepFor } from "../format";
import { useResource } from "../resource";
import { extent, run, runPath, settledZoom } from "../state";
import { Content, Section } from "../ui/Section";
import { stepText, times } from "./Power";

const METRICS = [
  { name: "cpu_utilization_ratio", label: "utilisation", unit: "%", factor: 100, digits: 0, most: 100 },
  { name: "power_w", label: "power", unit: "W", factor: 1, digits: 0, most: null },
  { name: "tasks_running", label: "tasks", unit: "", factor: 1, digits: 1, most: null },
] as const;

type Metric = (typeof METRICS)[number];

const chosen = signal<Metric>(METRICS[0]);
const COLUMNS = 170;
const MOST_LABELS = 22;

export function Hosts() {
  const map = useResource((abort) => {
    const inner = settledZoom.value;
    if (extent.value === undefined) return null;
    const range = inner ?? extent.value;
    const interval_seconds = range ? Math.max(300, stepFor(range.to - range.from, COLUMNS)) : 3_600;
    const span = inner ? times(inner) : {};
    const params = { datacenter: run.value?.datacenter, metric: chosen.value.name, interval_seconds, ...span };
    return get<HeatMap & { metadata?: { interval_seconds?: number } }>(runPath("/heatmap"), params, abort);
  });
  const look = colours.value;
  const metric = chosen.value;
  const option = useMemo(() => map.data && toOption(map.data, metric, look), [map.data, metric, look]);
  const step = map.data?.metadata?.interval_seconds;
  return (
    <Section id="hosts" title="Hosts" wide
      note={map.data ? `${plural(map.data.hosts.length, "host")}, means of ${stepText(step ?? 3_600)}` : null}
      actions={
        <label class="pick">
          Show
          <select value={metric.name} onChange={(event) => {
            chosen.value = METRICS.find((one) => one.name === event.currentTarget.value) ?? METRICS[0];
          }}>
            {METRICS.map((one) => <option key={one.name} value={one.name}>{one.label}</option>)}
          </select>
        </label>
      }>
      <Content of={map} size="tall" empty={(found) => !found.hosts.length}
        emptyText="No host samples: set engine.host_interval_s above 0 to record them.">
        {(found) => <Chart option={option!} size="tall" label={describe(found, metric)} />}
      </Content>
    </Section>
  );
}

const DAYS = 2;

/** Labels below the grid: at midnights for several days, else wherever there is room. */
function timeLabels(times: string[]): object {
  const [first, last] = [times[0] ?? "", times.at(-1) ?? ""];
  if (Date.parse(last) - Date.parse(first) <= DAYS * 86_400_000) return { formatter: (at: string) => moment(at, true) };
  return { interval: (_: number, at: string) => at.includes("T00:00:00"), formatter: day };
}

function toOption(map: HeatMap, metric: Metric, look: Colours): object {
  const cells: [number, number, number][] = [];
  let most = 0;
  map.values.forEach((row, y) => row.forEach((value, x) => {
    if (value === null) return;
    const shown = value * metric.factor;
    most = Math.max(most, shown);
    cells.push([x, y, Number(shown.toFixed(2))]);
  }));
  const axis = {
    axisLine: { show: false }, axisTick: { show: false }, splitLine: { show: false }, splitArea: { show: false },
  };
  return {
    ...base(),
    grid: [{ left: 76, right: 40, top: 10, bottom: 60 }],
    xAxis: [{
      ...axis, type: "category", data: map.times,
      axisLabel: { color: look.soft, fontSize: 11, hideOverlap: true, ...timeLabels(map.times) },
    }],
    yAxis: [{
      ...axis, type: "category", inverse: true, data: map.hosts.map((host) => host.host_name),
      axisLabel: { color: look.soft, fontSize: 11, width: 62, overflow: "truncate",
        interval: Math.max(0, Math.ceil(map.hosts.length / MOST_LABELS) - 1) },
    }],
    visualMap: [{
      type: "continuous", min: 0, max: metric.most ?? Math.max(1, Math.ceil(most)), calculable: false, orient: "horizontal",
      left: "center", bottom: 2, itemWidth: 12, itemHeight: 180, textStyle: { color: look.soft, fontSize: 11 },
      text: [`${num(metric.most ?? Math.ceil(most), 0, metric.unit)}`, `0${metric.unit ? `\u202f${metric.unit}` : ""}`],
      inRange: { color: [look["heat-0"], look["heat-1"], look["heat-2"], look["heat-3"], look["heat-4"]] },
    }],
    tooltip: {
      trigger: "item", confine: true, transitionDuration: 0, className: "tip-box", padding: 0,
      backgroundColor: look.card, borderColor: look.line, position: "top",
      formatter: (found: unknown) => {
        const [x, y, value] = (found as { value: [number, number, number] }).value;
        const host = map.hosts[y];
        return tip(`${moment(map.times[x])} UTC`, [
          { name: "host", text: `${host?.cluster_name ?? ""} / ${host?.host_name ?? ""}` },
          { name: metric.label, text: num(value, metric.digits, metric.unit) },
        ]);
      },
    },
    series: [{
      type: "heatmap", data: cells, progressive: 20_000, animation: false,
      emphasis: { itemStyle: { borderColor: look.ink, borderWidth: 1 } },
    }],
  };
}

function describe(map: HeatMap, metric: Metric): string {
  const all = map.values.flat().filter((value): value is number => value !== null);
  const mean = all.length ? (all.reduce((sum, value) => sum + value, 0) / all.length) * metric.factor : null;
  return `Heat map of ${metric.label} of ${plural(map.hosts.length, "host")} over time. ` +
    `Mean ${num(mean, metric.digits, metric.unit)}.`;
}
