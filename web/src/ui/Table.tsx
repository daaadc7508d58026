// Tables that scroll inside their card, with numbers aligned.

import type { ComponentChildren } from "preact";

export interface Column<T> {
  name: string;
  number?: boolean;
  title?: string;
  of: (row: T) => ComponentChildren;
}

interface Props<T> {
  label: string;
  columns: Column<T>[];
  rows: T[];
  keyOf: (row: T, index: number) => string;
}

export function Table<T>({ label, columns, rows, keyOf }: Props<T>) {
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={label}>
      <table>
        <thead>
          <tr>
            {columns.map((column) => (
              <th key={column.name} scope="col" class={column.number ? "n" : ""} title={column.title}>{column.name}</th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row, index) => (
            <tr key={keyOf(row, index)}>
              {columns.map((column) => (
                <td key={column.name} class={column.number ? "n" : ""}>{column.of(row)}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
