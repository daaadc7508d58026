// Where to go on the page, and which period the time charts show.

import { last, move, scale } from "../charts/zoom";
import { moment } from "../format";
import { extent, shown, zoom } from "../state";

const PLACES = [
  ["power", "Power"], ["accuracy", "Accuracy"], ["carbon", "Carbon"], ["hosts", "Hosts"], ["calibration", "Calibration"],
  ["windows", "Windows"], ["slo", "Objectives"], ["proposals", "Proposals"], ["what-if", "What if"], ["sql", "SQL"],
] as const;

export function Toolbar() {
  return (
    <div class="toolbar">
      <div class="toolbar-in">
        <nav aria-label="Sections">
          {PLACES.map(([id, text]) => <a key={id} href={`#${id}`}>{text}</a>)}
        </nav>
        <Period />
      </div>
    </div>
  );
}

function Period() {
  const range = shown.value;
  const whole = extent.value;
  if (!range || !whole) return null;
  const hours = (whole.to - whole.from) / 3_600_000;
  return (
    <div class="period" role="group" aria-label="Period of the time charts">
      <span class="period-text" id="period">{moment(range.from, true)} – {moment(range.to, true)} UTC</span>
      <button type="button" aria-label="Earlier" onClick={() => move(-0.5)} disabled={!zoom.value}>‹</button>
      <button type="button" aria-label="Later" onClick={() => move(0.5)} disabled={!zoom.value}>›</button>
      <button type="button" aria-label="Zoom in" onClick={() => scale(0.5)}>+</button>
      <button type="button" aria-label="Zoom out" onClick={() => scale(2)} disabled={!zoom.value}>−</button>
      {hours > 6 ? <button type="button" onClick={() => last(6)}>6 h</button> : null}
      {hours > 24 ? <button type="button" onClick={() => last(24)}>24 h</button> : null}
      <button type="button" aria-pressed={!zoom.value} onClick={() => last(null)}>All</button>
    </div>
  );
}
