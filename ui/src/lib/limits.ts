// Which limits are worth a look.

import type { Limit } from "../api/limits";

/** From this share on a limit is told of before it is met. */
export const NEAR_SHARE = 0.8;

/** Limits with a use, the fullest first. */
export function inUse(limits: Limit[]): Limit[] {
  const used = limits.filter((limit) => limit.share !== null);
  return used.sort((a, b) => (b.share ?? 0) - (a.share ?? 0));
}

/** Limits that are nearly met. */
export function nearlyMet(limits: Limit[]): Limit[] {
  return inUse(limits).filter((limit) => (limit.share ?? 0) >= NEAR_SHARE);
}

/** A share as people read it. */
export function percent(share: number | null): string {
  return share === null ? "" : `${Math.round(share * 100)} %`;
}
