// What has arrived, followed while the page is seen.

import { useEffect, useState } from "preact/hooks";

import { isAbort } from "../api/client";
import { type IngestState, ingestState } from "../api/ingest";

const POLL_MS = 1000;

/** What was last heard, and what went wrong since. */
export interface Heard {
  state: IngestState | null;
  error: Error | null;
}

/** Asks every second while the page is seen. */
export function useIngest(): Heard {
  const [heard, setHeard] = useState<Heard>({ state: null, error: null });
  useEffect(() => {
    const abort = new AbortController();
    const ask = (): void => {
      if (document.hidden) return;
      ingestState(abort.signal).then(
        (state) => setHeard({ state, error: null }),
        (error: unknown) => {
          if (isAbort(error)) return;
          const told = error instanceof Error ? error : new Error(String(error));
          setHeard((old) => ({ ...old, error: told }));
        },
      );
    };
    ask();
    const timer = window.setInterval(ask, POLL_MS);
    return () => {
      window.clearInterval(timer);
      abort.abort();
    };
  }, []);
  return heard;
}
