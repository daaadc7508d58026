// Pieces of chart options that several charts share.

import { moment } from "../format";
import type { Maybe } from "../api/types";
import type { Colours } from "./theme";
import type { Range } from "../state";

export type Point = [number, Maybe<number>];

export interface LineOptions {
  name: string;
  data: Point[];
  colour: string;
  width?: number;
  dash?: "solid" | "dashed" | "dotted";
  step?: boolean;
  grid?: number;
  area?: number;
  symbol?: boolean;
  opacity?: number;
  z?: number;
}

const FONT = 'system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';

export function line(options: LineOptions): object {
  const grid = options.grid ?? 0;
  return {
    type: "line",
    name: options.name,
    data: options.data,
    xAxisIndex: grid,
    yAxisIndex: grid,
    showSymbol: options.symbol ?? false,
    symbol: "circle",
    symbolSize: 5,
    connectNulls: false,
    step: options.step ? "end" : false,
    color: options.colour,
    lineStyle: { width: options.width ?? 1.5, type: options.dash ?? "solid", opacity: options.opacity ?? 1 },
    ...(options.area ? { areaStyle: { opacity: options.area } } : {}),
    emphasis: { disabled: true },
    z: options.z ?? 3,
  };
}

/** A band between two series: an invisible lower edge and the stacked difference above it. */
export function band(name: string, low: Point[], high: Point[], colour: string): object[] {
  const edge = { type: "line", stack: "band", showSymbol: false, silent: true, lineStyle: { opacity: 0 }, z: 1,
    emphasis: { disabled: true }, stackStrategy: "all" };
  const height = low.map(([at, from], i): Point => {
    const to = high[i]?.[1] ?? null;
    return [at, from === null || to === null ? null : to - from];
  });
  return [
    { ...edge, name: `${name} from`, data: low },
    { ...edge, name, data: height, color: colour, areaStyle: { color: colour, opacity: 0.28 } },
  ];
}

export function timeAxis(colours: Colours, extent: Range | null, grid = 0, labels = true): object {
  return {
    type: "time",
    gridIndex: grid,
    min: extent?.from ?? "dataMin",
    max: extent?.to ?? "dataMax",
    axisLine: { lineStyle: { color: colours.line } },
    axisTick: { show: labels, lineStyle: { color: colours.line } },
    axisLabel: {
      show: labels, color: colours.soft, fontSize: 11, hideOverlap: true, fontFamily: FONT, padding: [0, 8],
      formatter: { year: "{d} {MMM} {yyyy}", month: "{d} {MMM}", day: "{d} {MMM}", hour: "{HH}:{mm}", minute: "{HH}:{mm}",
        second: "{HH}:{mm}:{ss}", millisecond: "{HH}:{mm}:{ss}", none: "{d} {MMM}" },
    },
    axisPointer: { snap: false, label: { show: false }, lineStyle: { color: colours.soft, type: "dashed" } },
    splitLine: { show: false },
  };
}

export interface ValueAxis {
  name: string;
  /** Tenfold steps, for values that differ by much; then `min` has to be given. */
  log?: boolean;
  grid?: number;
  zero?: boolean;
  min?: number;
  max?: number;
  splits?: number;
  format?: (value: number) => string;
}

export function valueAxis(colours: Colours, options: ValueAxis): object {
  return {
    type: options.log ? "log" : "value",
    gridIndex: options.grid ?? 0,
    name: options.name,
    nameLocation: "end",
    nameGap: 10,
    nameTextStyle: { color: colours.soft, fontSize: 11, align: "left", padding: [0, 0, 0, -38], fontFamily: FONT },
    scale: !(options.zero ?? true),
    min: options.min ?? null,
    max: options.max ?? null,
    splitNumber: options.splits ?? 4,
    axisLabel: { color: colours.soft, fontSize: 11, fontFamily: FONT,
      ...(options.format ? { formatter: options.format } : {}) },
    splitLine: { lineStyle: { color: colours.line, opacity: 0.7 } },
    axisPointer: { show: false },
  };
}

/** Zoom inside time charts: Ctrl and wheel or pinch zooms, dragging moves; a plain wheel scrolls the page. */
export function insideZoom(axes: number[]): object {
  return {
    id: "inside", type: "inside", xAxisIndex: axes, filterMode: "none", zoomOnMouseWheel: "ctrl", moveOnMouseMove: true,
    moveOnMouseWheel: false, preventDefaultMouseMove: false, minValueSpan: 600_000, throttle: 60,
  };
}

export interface TipRow {
  name: string;
  colour?: string;
  text: string;
}

/** A tooltip as DOM nodes: names come from data, so nothing here is ever read as markup. */
export function tip(title: string, rows: TipRow[]): HTMLElement {
  const box = document.createElement("div");
  box.className = "tip";
  const head = box.appendChild(document.createElement("div"));
  head.className = "tip-head";
  head.textContent = title;
  for (const row of rows) {
    const one = box.appendChild(document.createElement("div"));
    one.className = "tip-row";
    const mark = one.appendChild(document.createElement("i"));
    if (row.colour) mark.style.background = row.colour;
    one.appendChild(document.createElement("span")).textContent = row.name;
    one.appendChild(document.createElement("b")).textContent = row.text;
  }
  return box;
}

export function tooltip(colours: Colours, rows: (at: number) => TipRow[]): object {
  return {
    trigger: "axis",
    confine: true,
    transitionDuration: 0,
    className: "tip-box",
    backgroundColor: colours.card,
    borderColor: colours.line,
    padding: 0,
    textStyle: { color: colours.ink, fontSize: 12, fontFamily: FONT },
    axisPointer: { type: "line", animation: false },
    formatter: (found: unknown) => {
      const first = (Array.isArray(found) ? found[0] : found) as { axisValue?: number } | undefined;
      const at = Number(first?.axisValue ?? Number.NaN);
      return tip(`${moment(at)} UTC`, rows(at));
    },
  };
}

/** The value at a time, or the last one before it; points are ordered by time. */
export function valueAt(points: Point[], at: number): Maybe<number> {
  let low = 0;
  let high = points.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (points[middle]![0] <= at) low = middle + 1;
    else high = middle;
  }
  return points[low - 1]?.[1] ?? null;
}

/** Points whose last value holds until a time, so that the last step of a stepped line is seen. */
export function held(points: Point[], until: number | undefined): Point[] {
  const last = points.at(-1);
  return last && until !== undefined && until > last[0] ? [...points, [until, last[1]]] : points;
}

export const base = (): object => ({ animation: false, useUTC: true, textStyle: { fontFamily: FONT } });
