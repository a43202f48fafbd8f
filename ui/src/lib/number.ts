// Numbers as people read them.

import { duration } from "./time";

/** `1,234,567` */
export function count(value: number): string {
  return value.toLocaleString("en-US");
}

/** `1 span`, `2 spans` */
export function plural(value: number, noun: string): string {
  return `${count(value)} ${noun}${value === 1 ? "" : "s"}`;
}

/** `12.3 KiB` */
export function bytes(value: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let scaled = value;
  let unit = 0;
  while (scaled >= 1024 && unit < units.length - 1) {
    scaled /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? scaled : scaled.toFixed(scaled < 10 ? 1 : 0)} ${units[unit] ?? ""}`;
}

/** A sample of a metric whose name ends in its unit. */
export function measured(metric: string, number: number): string {
  const name = metric.replace(/_(bucket|sum|total|max|min)$/, "");
  if (name.endsWith("_seconds")) return duration(number * 1e9);
  return name.endsWith("_bytes") ? bytes(number) : value(number);
}

/** A sample's value: four significant digits, with a suffix where it is large. */
export function value(number: number): string {
  if (!Number.isFinite(number)) return String(number);
  const size = Math.abs(number);
  for (const [scale, suffix] of [
    [1e12, "T"],
    [1e9, "G"],
    [1e6, "M"],
    [1e4, "k"],
  ] as const) {
    const divisor = suffix === "k" ? 1e3 : scale;
    if (size >= scale) return `${Number((number / divisor).toPrecision(4))}${suffix}`;
  }
  return String(Number(number.toPrecision(4)));
}
