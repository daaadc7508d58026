// What the whole page shares: the run shown, the period zoomed to, the look, and news from the server.

import { computed, effect, signal } from "@preact/signals";
import { ApiError, get } from "./api/client";
import { follow } from "./api/live";
import type { Info, Page, Run, Window } from "./api/types";

export interface Range {
  from: number;
  to: number;
}

export type LinkState = "connecting" | "open" | "lost";

export const runs = signal<Run[] | null>(null);
export const runsError = signal<ApiError | null>(null);
export const chosenKey = signal<string>(new URLSearchParams(location.search).get("run") ?? "");
/** From the first to the last committed window; undefined until known, null before the first window. */
export const extent = signal<Range | null | undefined>(undefined);
export const zoom = signal<Range | null>(null);
/** The zoom once it has been still for a moment; what is loaded follows this one. */
export const settledZoom = signal<Range | null>(null);
export const news = signal(0);
export const link = signal<LinkState>("connecting");
export const info = signal<Info | null>(null);

/** The time now [epoch ms], as precise as "4 min ago" needs. */
export const clock = signal(Date.now());

/** The period the time charts show; the whole run unless zoomed. */
export const shown = computed<Range | null>(() => zoom.value ?? extent.value ?? null);

/** The run shown: the chosen one, else the latest that has something to show. */
export const run = computed<Run | null>(() => {
  const all = runs.value ?? [];
  return all.find((one) => keyOf(one) === chosenKey.value) ?? all.find((one) => (one.windows ?? 0) > 0) ?? all[0] ?? null;
});

export const runKey = computed<string>(() => (run.value ? keyOf(run.value) : ""));

export function keyOf(one: Run): string {
  return `${one.datacenter}/${one.run_id}`;
}

/** Path and parameters of something that belongs to the run shown. */
export function runPath(part: string): string {
  return `/api/runs/${encodeURIComponent(run.peek()?.run_id ?? "latest")}${part}`;
}

export function choose(key: string): void {
  chosenKey.value = key;
  zoom.value = null;
  settledZoom.value = null;
  extent.value = undefined;
  const query = new URLSearchParams(location.search);
  query.set("run", key);
  history.replaceState(null, "", `${location.pathname}?${query.toString()}`);
}

export async function loadRuns(): Promise<void> {
  try {
    runs.value = (await get<Page<Run>>("/api/runs", { limit: 200 })).items;
    runsError.value = null;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.type === "no-lake") runs.value = [];
    runsError.value = error.type === "no-lake" ? null : error;
  }
}

/** Find out which period the run covers so far. */
export async function loadExtent(): Promise<void> {
  const key = runKey.peek();
  if (!key) return;
  const path = runPath("/windows");
  const params = { datacenter: run.peek()?.datacenter, limit: 1 };
  try {
    const first = await get<Page<Window>>(path, params);
    const last = await get<Page<Window>>(path, { ...params, offset: Math.max(0, first.total - 1) });
    const [a, b] = [first.items[0], last.items[0]];
    const found = a && b ? { from: Date.parse(a.start), to: Date.parse(b.end) } : null;
    const now = extent.peek();
    if (key === runKey.peek() && !(now && found && now.from === found.from && now.to === found.to)) extent.value = found;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (extent.peek() === undefined) extent.value = null;
  }
}

export async function loadInfo(): Promise<void> {
  try {
    info.value = await get<Info>("/api/info");
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    info.value = null;
  }
}

const QUIET_MS = 700;
const SETTLE_MS = 250;
const LOOK_MS = 15_000;
const CLOCK_MS = 10_000;

/** Keep runs and charts up to date; many commits in a moment make one refresh. */
export function startLive(): void {
  let timer = 0;
  const refresh = (): void => {
    if (timer) return;
    timer = window.setTimeout(() => {
      timer = 0;
      void loadRuns().then(loadExtent).then(() => (news.value += 1));
    }, QUIET_MS);
  };
  effect(() => {
    void runKey.value;
    void loadExtent();
  });
  let settling = 0;
  effect(() => {
    const wanted = zoom.value;
    clearTimeout(settling);
    settling = window.setTimeout(() => (settledZoom.value = wanted), SETTLE_MS);
  });
  window.setInterval(() => (clock.value = Date.now()), CLOCK_MS);
  // The stream follows the run started last; another one that is still going is looked at now and then.
  window.setInterval(() => {
    if (run.peek()?.state === "running" || link.peek() === "lost") refresh();
  }, LOOK_MS);
  let opened = false;
  void follow("/api/events", { since: 1_000_000_000 }, {
    onEvent: (event) => {
      if (opened && (event.event === "run" || event.event === "window")) refresh();
      opened = true;
    },
    onState: (state) => {
      if (link.peek() === "lost" && state === "open") refresh();
      link.value = state;
    },
  }, new AbortController().signal);
}
