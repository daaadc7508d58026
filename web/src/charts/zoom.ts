// Moving the period that all time charts show; for buttons and keys.

import { extent, shown, zoom, type Range } from "../state";

const LEAST_MS = 600_000;

function clamp(wanted: Range, whole: Range): Range | null {
  const span = Math.max(LEAST_MS, Math.min(wanted.to - wanted.from, whole.to - whole.from));
  if (span >= whole.to - whole.from) return null;
  const from = Math.max(whole.from, Math.min(wanted.from, whole.to - span));
  return { from, to: from + span };
}

function change(make: (now: Range, whole: Range) => Range): void {
  const whole = extent.peek();
  const now = shown.peek();
  if (whole && now) zoom.value = clamp(make(now, whole), whole);
}

/** Show `factor` times the present period around its middle. */
export function scale(factor: number): void {
  change(({ from, to }) => {
    const middle = (from + to) / 2;
    const half = ((to - from) / 2) * factor;
    return { from: middle - half, to: middle + half };
  });
}

/** Move by a share of the present period. */
export function move(share: number): void {
  change(({ from, to }) => ({ from: from + (to - from) * share, to: to + (to - from) * share }));
}

/** Show the last so many hours, or everything. */
export function last(hours: number | null): void {
  if (hours === null) zoom.value = null;
  else change((_, whole) => ({ from: whole.to - hours * 3_600_000, to: whole.to }));
}
