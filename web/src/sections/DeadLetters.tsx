// Records that could not be understood: where they are and why.

import { get } from "../api/client";
import type { DeadLetter, Page } from "../api/types";
import { int, plural } from "../format";
import { useResource } from "../resource";
import { run, runPath } from "../state";
import { Content, Section } from "../ui/Section";
import { Table } from "../ui/Table";

const MOST_CHARACTERS = 120;

export function DeadLetters() {
  const letters = useResource((signal) =>
    get<Page<DeadLetter>>(runPath("/dead-letters"), { datacenter: run.value?.datacenter, limit: 50 }, signal));
  const total = letters.data?.total ?? 0;
  return (
    <Section id="dead-letters" title="Dead letters" note={total ? plural(total, "record") : null}>
      <Content of={letters} size="low" empty={(found) => !found.items.length}
        emptyText="None: every record of this run was understood.">
        {(found) => (
          <Table label="Dead letters" rows={found.items}
            keyOf={(row) => `${row.topic} ${row.partition} ${row.offset_}`}
            columns={[
              { name: "where", of: (row) => <code>{row.topic} {row.partition}@{row.offset_}</code> },
              { name: "why", of: (row) => row.reason },
              { name: "bytes", number: true, of: (row) => int(row.payload_bytes) },
              { name: "begins with", of: (row) => <code class="clip">{decoded(row.payload_hex)}</code> },
              { name: "retried", of: (row) => (row.retried ? "yes" : "no") },
            ]} />
        )}
      </Content>
    </Section>
  );
}

/** The first bytes as text where they are text. */
function decoded(hex: string | null): string {
  const bytes = Uint8Array.from((hex ?? "").match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
  return new TextDecoder().decode(bytes).replace(/[\p{Cc}\p{Cf}]/gu, "·").slice(0, MOST_CHARACTERS);
}
