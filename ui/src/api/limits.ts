// GET /tercet/api/v1/limits: what a tenant may, and how much of it is used.

import { getJson } from "./client";

export interface Limit {
  name: string;
  /** As settings write it; `0` is no limit. */
  value: string;
  /** `default`, `file`, `environment`, `flag` or `tenant`. */
  source: string;
  /** Absent where a limit counts nothing that lasts. */
  usage: number | null;
  /** Used of the limit, 0 to 1 and above; absent where there is none. */
  share: number | null;
}

export interface TenantLimits {
  tenant: string;
  limits: Limit[];
}

export function tenantLimits(abort: AbortSignal): Promise<TenantLimits> {
  return getJson<TenantLimits>("/tercet/api/v1/limits", {}, abort);
}
