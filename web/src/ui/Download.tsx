// A button that saves what a section shows as CSV.

import { useState } from "preact/hooks";
import { ApiError, download, type Params } from "../api/client";

interface Props {
  what: string;
  path: () => string;
  params: () => Params;
  options?: () => RequestInit;
}

export function Download({ what, path, params, options }: Props) {
  const [failed, setFailed] = useState("");
  const save = async (): Promise<void> => {
    try {
      await download(path(), params(), `opendt-${what}.csv`, options?.() ?? {});
      setFailed("");
    } catch (error) {
      setFailed(error instanceof ApiError ? error.message : String(error));
    }
  };
  return (
    <>
      {failed ? <span class="bad" role="alert">{failed}</span> : null}
      <button type="button" class="quiet" aria-label={`Save ${what} as CSV`} onClick={() => void save()}>CSV</button>
    </>
  );
}
