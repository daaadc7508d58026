// Numbers, times and words for people. Every number carries its unit; an unknown one is a dash.

import type { Maybe } from "./api/types";

const DASH = "–";

export function num(value: Maybe<number> | undefined, digits = 1, unit = ""): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return DASH;
  const text = value.toLocaleString("en-GB", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  return unit ? `${text}\u202f${unit}` : text;
}

export const int = (value: Maybe<number> | undefined, unit = ""): string => num(value, 0, unit);
export const pct = (value: Maybe<number> | undefined, digits = 2): string => num(value, digits, "%");

export function signed(value: Maybe<number> | undefined, digits = 1, unit = ""): string {
  const text = num(value, digits, unit);
  return value !== null && value !== undefined && value > 0 ? `+${text}` : text;
}

const PARTS: Intl.DateTimeFormatOptions = { timeZone: "UTC", hourCycle: "h23" };
const MOMENT = new Intl.DateTimeFormat("en-GB", {
  ...PARTS, day: "2-digit", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit",
});
const SHORT = new Intl.DateTimeFormat("en-GB", {
  ...PARTS, day: "2-digit", month: "short", hour: "2-digit", minute: "2-digit",
});

/** A moment in UTC, such as "07 Oct 2022, 14:05". */
export function moment(value: Maybe<string | number> | undefined, short = false): string {
  if (value === null || value === undefined) return DASH;
  const at = new Date(value);
  return Number.isNaN(at.getTime()) ? DASH : (short ? SHORT : MOMENT).format(at);
}

const DAY = new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", day: "numeric", month: "short" });

/** A day in UTC, such as "7 Oct". */
export function day(value: string): string {
  return DAY.format(new Date(value));
}

export function duration(seconds: Maybe<number>): string {
  if (seconds === null || !Number.isFinite(seconds)) return DASH;
  if (seconds < 90) return num(seconds, seconds < 10 ? 1 : 0, "s");
  if (seconds < 5_400) return num(seconds / 60, 0, "min");
  if (seconds < 172_800) return num(seconds / 3_600, 1, "h");
  return num(seconds / 86_400, 1, "d");
}

export function ago(value: string, now = Date.now()): string {
  return `${duration(Math.max(0, (now - Date.parse(value)) / 1_000))} ago`;
}

export function plural(count: number, word: string): string {
  return `${int(count)} ${word}${count === 1 ? "" : "s"}`;
}

const STEPS_S = [1, 5, 10, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400, 604_800];

/** The smallest round step [s] that cuts a span [ms] into at most so many points. */
export function stepFor(spanMs: number, points: number): number {
  const wanted = spanMs / 1_000 / points;
  return STEPS_S.find((step) => step >= wanted) ?? 604_800;
}

/** Any value of a table cell as text. */
export function cell(value: unknown): string {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") {
    return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(7)));
  }
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
