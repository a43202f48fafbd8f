// Log lines in a list.

import type { LogLine } from "../api/logs";

/** What an address calls each line: its time, and which one of that time. */
export function keysOf(lines: LogLine[]): string[] {
  const seen = new Map<string, number>();
  return lines.map(({ timeNs }) => {
    const nth = seen.get(timeNs) ?? 0;
    seen.set(timeNs, nth + 1);
    return nth === 0 ? timeNs : `${timeNs}.${nth}`;
  });
}
