// Times as people type and read them. Instants are milliseconds since the epoch; nanoseconds of
// records are bigint, because a double cannot hold them.

export interface Range {
  from: number;
  to: number;
}

const UNITS: Record<string, number> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
};

/** `90s`, `5m`, `1h30m` in milliseconds, or null. */
export function parseDuration(text: string): number | null {
  const parts = [...text.trim().matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d|w)/g)];
  if (parts.length === 0 || parts.map((part) => part[0]).join("") !== text.trim()) return null;
  return parts.reduce((sum, part) => sum + Number(part[1]) * (UNITS[part[2] ?? ""] ?? 0), 0);
}

/** An instant: `now`, `now-15m`, `2h ago`, an epoch of 10 to 19 digits, or a date in ISO form. */
export function parseInstant(text: string, now: number): number | null {
  const trimmed = text.trim();
  if (trimmed === "now" || trimmed === "") return now;
  const ago = /^now\s*-\s*(.+)$/.exec(trimmed)?.[1] ?? /^(.+?)\s+ago$/.exec(trimmed)?.[1];
  if (ago !== undefined) {
    const duration = parseDuration(ago.replaceAll(" ", ""));
    return duration === null ? null : now - duration;
  }
  if (/^\d{10,19}$/.test(trimmed)) {
    const digits = trimmed.length;
    const value = Number(trimmed);
    if (digits <= 11) return value * 1000;
    if (digits <= 14) return value;
    return digits <= 17 ? value / 1000 : value / 1e6;
  }
  if (!/^\d{4}-\d{2}-\d{2}/.test(trimmed)) return null;
  const iso = trimmed.replace(" ", "T").replace(",", ".");
  const value = Date.parse(iso.length === 10 ? `${iso}T00:00` : iso);
  return Number.isNaN(value) ? null : value;
}

/** A range: `15m`, `2h ago to now`, `A to B`, `A +- 5m`, or an instant alone (five minutes around it). */
export function parseRange(text: string, now: number): Range | null {
  const trimmed = text.trim();
  const duration = parseDuration(trimmed);
  if (duration !== null) return { from: now - duration, to: now };
  const around = /^(.+?)\s*(?:\+-|\+\/-|±)\s*(\S+)$/.exec(trimmed);
  if (around) {
    const middle = parseInstant(around[1] ?? "", now);
    const half = parseDuration(around[2] ?? "");
    return middle === null || half === null ? null : { from: middle - half, to: middle + half };
  }
  const ends = trimmed.split(/\s+to\s+|\s*\/\s*/);
  if (ends.length === 2) {
    const from = parseInstant(ends[0] ?? "", now);
    const to = parseInstant(ends[1] ?? "", now);
    return from === null || to === null || from >= to ? null : { from, to };
  }
  if (/^now-/.test(trimmed)) {
    const from = parseInstant(trimmed, now);
    return from === null ? null : { from, to: now };
  }
  const middle = parseInstant(trimmed, now);
  return middle === null ? null : { from: middle - 300_000, to: middle + 300_000 };
}

/** The range that an address names: `from` and `to`, each relative or absolute; an hour by default. */
export function rangeOf(params: URLSearchParams, now: number): Range {
  const from = parseInstant(params.get("from") ?? "now-1h", now);
  const to = parseInstant(params.get("to") ?? "now", now);
  if (from === null || to === null || from >= to) return { from: now - 3_600_000, to: now };
  return { from, to };
}

/** A step that divides a range into about `points`, in milliseconds, of a round length. */
export function stepOf(range: Range, points: number): number {
  const rough = (range.to - range.from) / points;
  const round = [
    1000, 2000, 5000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000, 900_000, 1_800_000,
    3_600_000, 7_200_000, 21_600_000, 43_200_000, 86_400_000,
  ];
  return round.find((step) => step >= rough) ?? Math.ceil(rough / 86_400_000) * 86_400_000;
}

export type Zone = "local" | "UTC";

const pad = (value: number, width = 2): string => String(value).padStart(width, "0");

function parts(ms: number, zone: Zone) {
  const date = new Date(ms);
  return zone === "UTC"
    ? {
        day: `${date.getUTCFullYear()}-${pad(date.getUTCMonth() + 1)}-${pad(date.getUTCDate())}`,
        clock: `${pad(date.getUTCHours())}:${pad(date.getUTCMinutes())}:${pad(date.getUTCSeconds())}`,
        ms: pad(date.getUTCMilliseconds(), 3),
      }
    : {
        day: `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`,
        clock: `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`,
        ms: pad(date.getMilliseconds(), 3),
      };
}

/** `14:03:07.112` */
export function clock(ms: number, zone: Zone): string {
  const part = parts(ms, zone);
  return `${part.clock}.${part.ms}`;
}

/** `2026-11-20 14:03:07.112 UTC` */
export function dateTime(ms: number, zone: Zone): string {
  const part = parts(ms, zone);
  return `${part.day} ${part.clock}.${part.ms} ${zoneName(ms, zone)}`;
}

/** `UTC` or the offset of the browser's zone at that instant. */
export function zoneName(ms: number, zone: Zone): string {
  if (zone === "UTC") return "UTC";
  const minutes = -new Date(ms).getTimezoneOffset();
  if (minutes === 0) return "UTC";
  const sign = minutes < 0 ? "-" : "+";
  return `UTC${sign}${pad(Math.floor(Math.abs(minutes) / 60))}:${pad(Math.abs(minutes) % 60)}`;
}

/** `1.84 s`, `391 ms`, `12 µs`: three digits and a unit. `ns` may be fractional. */
export function duration(ns: number): string {
  const scales: [number, string][] = [
    [86_400e9, "d"],
    [3_600e9, "h"],
    [60e9, "min"],
    [1e9, "s"],
    [1e6, "ms"],
    [1e3, "µs"],
  ];
  const [scale, unit] = scales.find(([scale]) => Math.abs(ns) >= scale) ?? [1, "ns"];
  const value = ns / scale;
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return `${String(Number(value.toFixed(digits)))} ${unit}`;
}

/** `4 s ago`, `3 min ago`. */
export function ago(ms: number): string {
  if (ms < 1000) return "just now";
  return `${duration(Math.max(0, ms) * 1e6).replace(/\.\d+/, "")} ago`;
}

/** Round times inside a stretch of a time line, at most `most` of them. Units: ns. */
export function ticksOf(from: number, to: number, most: number): number[] {
  const rough = (to - from) / Math.max(1, most);
  const power = 10 ** Math.floor(Math.log10(Math.max(rough, 1)));
  const step = ([1, 2, 5].find((part) => part * power >= rough) ?? 10) * power;
  const ticks: number[] = [];
  for (let at = Math.ceil(from / step) * step; at < to; at += step) ticks.push(at);
  return ticks;
}

/** A label on a time axis whose labels are `stepMs` apart: as much as tells them apart. */
export function axisTime(ms: number, stepMs: number, zone: Zone): string {
  const part = parts(ms, zone);
  if (stepMs >= 86_400_000) return part.day.slice(5);
  if (part.clock === "00:00:00") return part.day.slice(5);
  return stepMs < 60_000 ? part.clock : part.clock.slice(0, 5);
}
