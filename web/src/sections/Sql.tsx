// SQL for people: a box, a gallery of questions, and the answer as a table.

import { useRef, useState } from "preact/hooks";
import { ApiError, get, send } from "../api/client";
import type { GalleryQuery, SqlResult } from "../api/types";
import { cell, int, num, plural } from "../format";
import { useResource } from "../resource";
import { Download } from "../ui/Download";
import { Section } from "../ui/Section";
import { Table } from "../ui/Table";

const START = "SELECT * FROM latest_run";
const MOST_SHOWN = 200;

export function Sql() {
  const gallery = useResource((signal) => get<{ queries: GalleryQuery[] }>("/api/sql/gallery", {}, signal));
  const [text, setText] = useState(START);
  const [picked, setPicked] = useState("");
  const [result, setResult] = useState<SqlResult | null>(null);
  const [error, setError] = useState("");
  const [busy, setBusy] = useState(false);
  const asked = useRef<AbortController | null>(null);
  const run = async (sql: string): Promise<void> => {
    asked.current?.abort();
    const abort = new AbortController();
    asked.current = abort;
    setBusy(true);
    try {
      setResult(await send<SqlResult>("POST", "/api/sql", { sql, max_rows: 1_000 }, abort.signal));
      setError("");
    } catch (reason) {
      if (abort.signal.aborted) return;
      setResult(null);
      setError(reason instanceof ApiError ? reason.message : String(reason));
    } finally {
      if (asked.current === abort) setBusy(false);
    }
  };
  const stop = (): void => {
    asked.current?.abort();
    setBusy(false);
  };
  const pick = (name: string): void => {
    const found = gallery.data?.queries.find((one) => one.name === name);
    setPicked(name);
    if (!found) return;
    setText(found.sql);
    void run(found.sql);
  };
  return (
    <Section id="sql" title="SQL" wide note="read-only, one statement"
      actions={
        <label class="pick">
          Gallery
          <select value={picked} onChange={(event) => pick(event.currentTarget.value)}>
            <option value="">choose a question …</option>
            {(gallery.data?.queries ?? []).map((one) => <option key={one.name} value={one.name}>{one.title}</option>)}
          </select>
        </label>
      }>
      <form class="sql" onSubmit={(event) => { event.preventDefault(); void run(text); }}>
        <label class="sr" for="sql-text">SQL statement</label>
        <textarea id="sql-text" rows={6} spellcheck={false} autocapitalize="off" value={text}
          onInput={(event) => setText(event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) void run(text);
          }} />
        <div class="buttons">
          <button type="submit" class="main" disabled={!text.trim()}>Run</button>
          {busy ? <button type="button" onClick={stop}>Stop</button> : null}
          <span class="note">Ctrl + Enter runs it</span>
          <span class="grow" />
          {result ? (
            <Download what="query" path={() => "/api/sql"} params={() => ({})}
              options={() => ({ method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ sql: text }) })} />
          ) : null}
        </div>
      </form>
      {error ? <div class="failure" role="alert"><p class="sql-error">{error}</p></div> : null}
      {busy && !result ? <div class="hold hold-low" role="status" aria-label="Running"><span class="spin" /></div> : null}
      {result ? <Rows result={result} /> : null}
    </Section>
  );
}

function Rows({ result }: { result: SqlResult }) {
  const count = result.rows.length;
  const shown = result.rows.slice(0, MOST_SHOWN);
  const more = result.truncated ? "at least " : "";
  return (
    <>
      <p class="note" role="status">
        {more}{plural(count, "row")} in {num(result.elapsed_s * 1_000, 0, "ms")}
        {shown.length < count ? `; the first ${int(shown.length)} are shown` : ""}
      </p>
      <Table label="Rows of the statement" rows={shown} keyOf={(_, index) => String(index)}
        columns={result.columns.map((column, index) => ({
          name: column.name,
          title: column.type,
          number: /int|float|double|decimal/.test(column.type),
          of: (row: unknown[]) => <span class="clip">{cell(row[index])}</span>,
        }))} />
    </>
  );
}
