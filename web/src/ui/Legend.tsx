// A chart's legend in the page: readable, and a button per line that hides it.

export interface LegendItem {
  name: string;
  colour: string;
  mark: "line" | "broad" | "dashed" | "dotted" | "fill";
}

interface Props {
  items: LegendItem[];
  hidden: ReadonlySet<string>;
  toggle: (name: string) => void;
}

export function Legend({ items, hidden, toggle }: Props) {
  return (
    <ul class="legend">
      {items.map((item) => (
        <li key={item.name}>
          <button type="button" aria-pressed={!hidden.has(item.name)} onClick={() => toggle(item.name)}>
            <i class={`mark mark-${item.mark}`} style={{ color: item.colour }} />
            {item.name}
          </button>
        </li>
      ))}
    </ul>
  );
}

export function toggled(hidden: ReadonlySet<string>, name: string): ReadonlySet<string> {
  const next = new Set(hidden);
  if (!next.delete(name)) next.add(name);
  return next;
}
