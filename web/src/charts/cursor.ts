// One cursor for all time charts: the moment pointed at in one is marked in the others.

import type { EChartsType } from "./library";

const INSIDE_PX = 40; // below the top of every chart's first grid

const members = new Set<EChartsType>();
let passingOn = false;

interface Moved {
  axesInfo?: { value: number }[];
}

/** Let a chart take part; gives back a function that lets it leave. */
export function shareCursor(chart: EChartsType): () => void {
  members.add(chart);
  chart.on("updateAxisPointer", (event) => {
    if (!passingOn) passOn(chart, (event as Moved).axesInfo?.[0]?.value);
  });
  return () => members.delete(chart);
}

function passOn(from: EChartsType, at: number | undefined): void {
  passingOn = true;
  for (const chart of members) {
    if (chart !== from) mark(chart, at);
  }
  passingOn = false;
}

function mark(chart: EChartsType, at: number | undefined): void {
  if (at === undefined) {
    chart.dispatchAction({ type: "updateAxisPointer", currTrigger: "leave" });
    chart.dispatchAction({ type: "hideTip" });
  } else {
    const x = chart.convertToPixel({ xAxisIndex: 0 }, at);
    chart.dispatchAction({ type: "updateAxisPointer", currTrigger: "mousemove", x, y: INSIDE_PX });
  }
}
