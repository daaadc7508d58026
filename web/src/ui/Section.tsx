// The frame of every part of the page, and the three things it may say instead of content.

import type { ComponentChildren } from "preact";
import type { Resource } from "../resource";

interface SectionProps {
  id: string;
  title: string;
  note?: ComponentChildren;
  actions?: ComponentChildren;
  wide?: boolean;
  children: ComponentChildren;
}

export function Section({ id, title, note, actions, wide, children }: SectionProps) {
  return (
    <section id={id} class={`card${wide ? " wide" : ""}`} aria-labelledby={`${id}-title`}>
      <div class="card-head">
        <h2 id={`${id}-title`}>{title}</h2>
        {note ? <p class="note">{note}</p> : null}
        {actions ? <div class="actions">{actions}</div> : null}
      </div>
      {children}
    </section>
  );
}

interface ContentProps<T> {
  of: Resource<T>;
  empty: (data: T) => boolean;
  emptyText: ComponentChildren;
  size?: "tall" | "normal" | "low";
  children: (data: T) => ComponentChildren;
}

/** What a resource holds, or why it is not there and what to do. */
export function Content<T>({ of, empty, emptyText, size = "normal", children }: ContentProps<T>) {
  if (of.data !== null && !empty(of.data)) {
    return (
      <>
        {of.error ? <Failure resource={of} stale /> : null}
        {children(of.data)}
      </>
    );
  }
  if (of.error) return <Failure resource={of} />;
  if (of.loading) return <div class={`hold hold-${size}`} role="status" aria-label="Loading"><span class="spin" /></div>;
  return <div class="hold empty"><p>{emptyText}</p></div>;
}

function Failure<T>({ resource, stale = false }: { resource: Resource<T>; stale?: boolean }) {
  const { status, message } = resource.error!;
  const missing = status === 404;
  return (
    <div class={`failure${stale ? " stale" : ""}`} role={missing ? "status" : "alert"}>
      <p>{missing ? `Not available: ${message}` : message}</p>
      <button type="button" onClick={resource.retry}>Try again</button>
    </div>
  );
}
