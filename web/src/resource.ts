// A value from the API as the page sees it: loading, there, or not there and why.

import { effect, useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { ApiError } from "./api/client";
import { news, runKey } from "./state";

export interface Resource<T> {
  data: T | null;
  error: ApiError | null;
  loading: boolean;
  retry: () => void;
}

/**
 * Load something again whenever the run, the news from the server or a signal read in `load` changes.
 * What was loaded before stays visible meanwhile, unless the run changed.
 */
export function useResource<T>(load: (signal: AbortSignal) => Promise<T> | null): Resource<T> {
  const data = useSignal<T | null>(null);
  const error = useSignal<ApiError | null>(null);
  const loading = useSignal(true);
  const again = useSignal(0);
  useEffect(() => {
    let last = "";
    let abort = new AbortController();
    const stop = effect(() => {
      const key = runKey.value;
      void news.value;
      void again.value;
      abort.abort();
      abort = new AbortController();
      const { signal } = abort;
      const coming = load(signal);
      if (!coming) return;
      if (key !== last) {
        data.value = null;
        error.value = null;
        loading.value = true;
        last = key;
      }
      coming.then(
        (value) => {
          if (signal.aborted) return;
          data.value = value;
          error.value = null;
          loading.value = false;
        },
        (reason: unknown) => {
          if (signal.aborted) return;
          error.value = reason instanceof ApiError ? reason : new ApiError(0, "failed", String(reason));
          loading.value = false;
        },
      );
    });
    return () => {
      stop();
      abort.abort();
    };
  }, []);
  return { data: data.value, error: error.value, loading: loading.value, retry: () => (again.value += 1) };
}
