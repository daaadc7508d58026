// Changes need a token; it is asked for when the server says so, and kept for this tab only.

import { signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { ApiError, hasToken, setToken } from "../api/client";

interface Question {
  reason: string;
  answer: (given: boolean) => void;
}

const question = signal<Question | null>(null);

/** Do something that may need a token; ask for one and try again when the server refuses. */
export async function withToken<T>(act: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await act();
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 401) throw error;
      const reason = hasToken() ? "The server does not accept that token." : "This change needs a token.";
      const given = await new Promise<boolean>((answer) => (question.value = { reason, answer }));
      if (!given) throw new ApiError(401, "cancelled", "Nothing was changed: no token was given.");
    }
  }
}

export function TokenDialog() {
  const box = useRef<HTMLDialogElement>(null);
  const [text, setText] = useState("");
  const asked = question.value;
  useEffect(() => {
    if (asked && !box.current?.open) box.current?.showModal();
  }, [asked]);
  const close = (given: boolean): void => {
    if (given) setToken(text);
    setText("");
    question.value = null;
    box.current?.close();
    asked?.answer(given);
  };
  return (
    <dialog ref={box} aria-labelledby="token-title" onCancel={(event) => { event.preventDefault(); close(false); }}>
      <form method="dialog" onSubmit={(event) => { event.preventDefault(); close(true); }}>
        <h2 id="token-title">Token</h2>
        <p>{asked?.reason} <code>opendt api</code> prints it when it starts, and it is kept in the file <code>.api-token</code> beside the lake.</p>
        <label>
          Token
          <input type="password" autocomplete="off" required value={text}
            onInput={(event) => setText(event.currentTarget.value)} />
        </label>
        <div class="buttons">
          <button type="button" class="quiet" onClick={() => close(false)}>Cancel</button>
          <button type="submit" class="main">Continue</button>
        </div>
      </form>
    </dialog>
  );
}
