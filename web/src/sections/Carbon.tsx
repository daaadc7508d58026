// Emission per hour of trace time, above the carbon intensity of the grid.

import { useMemo } from "preact/hooks";
import { get } from "../api/client";
import type { CarbonPoint, Series } from "../api/types";
import { Chart } from "../charts/Chart";
import { base, insideZoom, line, timeAxis, tooltip, valueAt, valueAxis, type Point } from "../charts/parts";
import { colours, type Colours } from "../charts/theme";
import { num, stepFor } from "../format";
import { useResource } from "../resource";
import { extent, run, runPath, type Range } from "../state";
import { Download } from "../ui/Download";
import { Content, Section } from "../ui/Section";
import { spanParams } from "./Power";

interface Lines {
  emission: Point[];
  intensity: Point[];
  total: number;
}

export function Carbon() {
  const carbon = useResource((signal) => {
    const whole = extent.value;
    if (whole === undefined) return null;
    const interval_seconds = whole ? Math.max(300, stepFor(whole.to - whole.from, 400)) : 3_600;
    return get<Series<CarbonPoint>>(runPath("/carbon"), { datacenter: run.value?.datacenter, interval_seconds }, signal);
  });
  const look = colours.value;
  const whole = extent.value ?? null;
  const lines = useMemo(() => (carbon.data ? toLines(carbon.data) : null), [carbon.data]);
  const option = useMemo(() => lines && toOption(lines, look, whole), [lines, look, whole]);
  return (
    <Section id="carbon" title="Carbon" note={lines ? `${num(lines.total, 1, "kg")} CO₂ so far` : null}
      actions={<Download what="carbon" path={() => runPath("/carbon")} params={spanParams} />}>
      <Content of={carbon} empty={(found) => !found.data.some((point) => point.carbon_intensity_g_per_kwh !== null)}
        emptyText="No carbon intensity: give the trace a carbon.parquet to see emission here.">
        {() => (
          <Chart option={option!} overTime
            label={`Chart of emission and carbon intensity over time. ${num(lines!.total, 1, "kg")} of CO2 in all.`} />
        )}
      </Content>
    </Section>
  );
}

function toLines(series: Series<CarbonPoint>): Lines {
  const at = series.data.map((point) => Date.parse(point.time));
  return {
    emission: series.data.map((p, i): Point => [at[i]!, rate(p)]),
    intensity: series.data.map((p, i): Point => [at[i]!, p.carbon_intensity_g_per_kwh]),
    total: series.data.reduce((sum, point) => sum + (point.carbon_g ?? 0), 0) / 1_000,
  };
}

/** Emission rate [kg/h]; from the means, so that a bucket with few samples shows no dip. */
function rate(point: CarbonPoint): number | null {
  const { simulated_w: power, carbon_intensity_g_per_kwh: intensity } = point;
  return power === null || intensity === null ? null : (power / 1_000) * (intensity / 1_000);
}

function toOption(lines: Lines, look: Colours, whole: Range | null): object {
  return {
    ...base(),
    grid: [
      { left: 52, right: 18, top: 30, bottom: "42%" },
      { left: 52, right: 18, top: "70%", bottom: 28 },
    ],
    xAxis: [timeAxis(look, whole, 0, false), timeAxis(look, whole, 1)],
    yAxis: [
      valueAxis(look, { name: "emission [kg/h]" }),
      valueAxis(look, { name: "grid intensity [g/kWh]", grid: 1, splits: 2 }),
    ],
    axisPointer: { link: [{ xAxisIndex: "all" }] },
    tooltip: tooltip(look, (at) => [
      { name: "emission", colour: look.carbon, text: num(valueAt(lines.emission, at), 2, "kg/h") },
      { name: "intensity", colour: look.intensity, text: num(valueAt(lines.intensity, at), 0, "g/kWh") },
    ]),
    dataZoom: [insideZoom([0, 1])],
    series: [
      line({ name: "emission", data: lines.emission, colour: look.carbon, area: 0.25, step: true }),
      line({ name: "intensity", data: lines.intensity, colour: look.intensity, grid: 1, step: true }),
    ],
  };
}
