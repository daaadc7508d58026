// Server-sent events over fetch, because EventSource cannot send the token a server may ask for.

import { address, ApiError, request, type Params } from "./client";

export interface LiveEvent {
  event: string;
  data: string;
}

export interface LiveHandlers {
  onEvent: (event: LiveEvent) => void;
  onState: (state: "open" | "lost") => void;
}

const RETRY_MS = 2_000;
const SLOW_RETRY_MS = 15_000;

/** Follow a stream until `signal` is aborted, reconnecting when it breaks. */
export async function follow(path: string, params: Params, handlers: LiveHandlers, signal: AbortSignal): Promise<void> {
  let lastId = "";
  while (!signal.aborted) {
    let wait = RETRY_MS;
    try {
      const headers: Record<string, string> = { Accept: "text/event-stream" };
      if (lastId) headers["Last-Event-ID"] = lastId;
      const response = await request(address(path, params), { headers, signal, cache: "no-store" });
      handlers.onState("open");
      for await (const block of blocks(response)) {
        const event = parse(block, (id) => (lastId = id));
        if (event) handlers.onEvent(event);
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof ApiError && error.status >= 400) wait = SLOW_RETRY_MS;
    }
    if (signal.aborted) return;
    handlers.onState("lost");
    await pause(wait, signal);
  }
}

async function* blocks(response: Response): AsyncGenerator<string> {
  if (!response.body) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    let end: number;
    while ((end = text.indexOf("\n\n")) >= 0) {
      yield text.slice(0, end);
      text = text.slice(end + 2);
    }
  }
}

function parse(block: string, keepId: (id: string) => void): LiveEvent | null {
  let event = "message";
  const data: string[] = [];
  for (const line of block.split("\n")) {
    if (line.startsWith("event:")) event = line.slice(6).trim();
    else if (line.startsWith("data:")) data.push(line.slice(5).trimStart());
    else if (line.startsWith("id:")) keepId(line.slice(3).trim());
  }
  return data.length ? { event, data: data.join("\n") } : null;
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
