// A chart on the page: made when it comes into view, resized with its box, redrawn when its option changes.

import { useEffect, useRef, useState } from "preact/hooks";
import { shown, zoom, extent, type Range } from "../state";
import { shareCursor } from "./cursor";
import type { EChartsType } from "./library";
import { library } from "./load";
import { scale } from "./zoom";

interface Props {
  option: object;
  /** What a person who cannot see the chart should know. */
  label: string;
  size?: "tall" | "normal" | "low";
  /** Joins the charts that share cursor and zoom. */
  overTime?: boolean;
  height?: number;
}

export function Chart({ option, label, size = "normal", overTime = false, height }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const chart = useRef<EChartsType | null>(null);
  const [visible, setVisible] = useState(false);
  const [state, setState] = useState<"waiting" | "ready" | "failed">("waiting");

  useEffect(() => {
    const seen = new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting)) {
        setVisible(true);
        seen.disconnect();
      }
    }, { rootMargin: "300px" });
    seen.observe(box.current!);
    return () => seen.disconnect();
  }, []);

  useEffect(() => {
    if (!visible) return;
    let gone = false;
    let leave = (): void => undefined;
    const start = (made: EChartsType): void => {
      chart.current = made;
      const stopSharing = overTime ? shareCursor(made) : null;
      if (overTime) made.on("datazoom", () => readZoom(made));
      const sized = new ResizeObserver(() => made.resize());
      sized.observe(box.current!);
      leave = () => {
        sized.disconnect();
        stopSharing?.();
        chart.current = null;
        made.dispose();
      };
      setState("ready");
    };
    library().then(
      ({ init }) => gone || start(init(box.current!, null, { renderer: "canvas" })),
      () => gone || setState("failed"),
    );
    return () => {
      gone = true;
      leave();
    };
  }, [visible]);

  useEffect(() => {
    chart.current?.setOption(fitted(option as Option, box.current!.clientWidth), { replaceMerge: ["series", "grid", "xAxis", "yAxis"] });
    if (overTime && chart.current) applyZoom(chart.current);
  }, [state, option]);

  useEffect(() => {
    if (!overTime) return;
    return shown.subscribe(() => {
      if (chart.current) applyZoom(chart.current);
    });
  }, [state]);

  const onKeyDown = (event: KeyboardEvent): void => {
    if (chart.current && moveCursor(chart.current, event.key)) event.preventDefault();
  };
  const style = height ? { flexBasis: `${height}px` } : {};
  if (state === "failed") return <div class="hold empty"><p>The chart could not be loaded. Is <code>opendt api</code> still running? Load the page again.</p></div>;
  return (
    <div ref={box} class={`chart chart-${size}`} style={style} role="img" aria-label={label} data-ready={state === "ready"}
      {...(overTime ? { tabIndex: 0, onKeyDown } : {})} />
  );
}

type Option = Record<string, unknown> & { xAxis?: object[] };

const NARROW_PX = 520;

/** On a narrow screen, fewer labels below the chart. */
function fitted(option: Option, width: number): Option {
  if (width >= NARROW_PX || !option.xAxis) return option;
  return { ...option, xAxis: option.xAxis.map((axis) => ({ ...axis, splitNumber: 4 })) };
}

const cursors = new WeakMap<EChartsType, number>();

/** Arrow keys walk along a chart's first line, showing its values; plus and minus zoom. Returns whether a key meant that. */
function moveCursor(chart: EChartsType, key: string): boolean {
  if (key === "+" || key === "-") {
    scale(key === "+" ? 0.5 : 2);
    return true;
  }
  const step = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[key];
  const range = shown.peek();
  const points = (chart.getOption() as { series?: { data?: [number, unknown][] }[] }).series?.[0]?.data ?? [];
  if (step === undefined || !range || !points.length) return false;
  const first = points.findIndex((point) => point[0] >= range.from);
  const last = points.findLastIndex((point) => point[0] < range.to);
  const before = cursors.get(chart) ?? Math.floor((first + last) / 2);
  const index = Math.max(first, Math.min(last, before + step));
  cursors.set(chart, index);
  chart.dispatchAction({ type: "showTip", seriesIndex: 0, dataIndex: index });
  return true;
}

interface Zoomed {
  dataZoom?: { id?: string; start?: number; end?: number }[];
}

const ALMOST_NOTHING_PCT = 0.01;

/** What a person zoomed to in a chart becomes the period of the whole page. */
function readZoom(chart: EChartsType): void {
  const inside = insideOf(chart);
  const whole = extent.peek();
  if (inside?.start === undefined || inside.end === undefined || !whole) return;
  const [start, end] = percents(shown.peek() ?? whole, whole);
  if (Math.abs(inside.start - start) + Math.abs(inside.end - end) < ALMOST_NOTHING_PCT) return;
  const at = (percent: number): number => Math.round(whole.from + ((whole.to - whole.from) * percent) / 100);
  const all = inside.start < ALMOST_NOTHING_PCT && inside.end > 100 - ALMOST_NOTHING_PCT;
  zoom.value = all ? null : { from: at(inside.start), to: at(inside.end) };
}

/** The page's period, shown by a chart that does not show it yet. */
function applyZoom(chart: EChartsType): void {
  const wanted = shown.peek();
  const whole = extent.peek();
  const inside = insideOf(chart);
  if (!wanted || !whole || !inside) return;
  const [start, end] = percents(wanted, whole);
  if (Math.abs((inside.start ?? 0) - start) + Math.abs((inside.end ?? 100) - end) > ALMOST_NOTHING_PCT) {
    chart.dispatchAction({ type: "dataZoom", start, end, escapeConnect: true });
  }
}

function insideOf(chart: EChartsType): { start?: number; end?: number } | undefined {
  return (chart.getOption() as Zoomed | undefined)?.dataZoom?.find((one) => one.id === "inside");
}

function percents(range: Range, whole: Range): [number, number] {
  const share = (at: number): number => (100 * (at - whole.from)) / Math.max(1, whole.to - whole.from);
  return [share(range.from), share(range.to)];
}
