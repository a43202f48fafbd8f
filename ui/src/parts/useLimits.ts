// A tenant's limits, followed while the page is seen.

import { useEffect, useState } from "preact/hooks";

import { type TenantLimits, tenantLimits } from "../api/limits";

const POLL_MS = 5000;

/** What was last heard; what goes wrong is asked again. */
export function useLimits(): TenantLimits | null {
  const [state, setState] = useState<TenantLimits | null>(null);
  useEffect(() => {
    const abort = new AbortController();
    const ask = (): void => {
      if (document.hidden) return;
      tenantLimits(abort.signal).then(setState, () => undefined);
    };
    ask();
    const timer = window.setInterval(ask, POLL_MS);
    return () => {
      window.clearInterval(timer);
      abort.abort();
    };
  }, []);
  return state;
}
