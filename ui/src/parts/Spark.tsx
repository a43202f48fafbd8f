// A metric around one moment, small: the line, and where the moment is.

import { queryRange } from "../api/metrics";
import { firstLook } from "../lib/metric";
import { value } from "../lib/number";
import { useLoad } from "./use";

/** Each side of the moment. Units: ms. */
const AROUND_MS = 900_000;
const POINTS = 60;

export function Spark({
  series,
  timeMs,
  number,
}: {
  series: Record<string, string>;
  timeMs: number;
  number: number;
}) {
  const name = series["__name__"] ?? "";
  const query = firstLook(name, series);
  const range = { from: timeMs - AROUND_MS, to: timeMs + AROUND_MS };
  const stepMs = (2 * AROUND_MS) / POINTS;
  const loaded = useLoad(`${query}|${timeMs}`, (abort) => queryRange(query, range, stepMs, abort));
  const values = loaded.state === "done" ? (loaded.data.series[0]?.values ?? []) : [];
  const link = new URLSearchParams({
    q: query,
    from: String(range.from),
    to: String(range.to),
  });
  return (
    <a class="tile" href={`/graph?${link.toString()}`}>
      <div class="k" title={name}>
        {name.endsWith("_bucket") ? `${name.slice(0, -7)} p99` : name}
      </div>
      <div class="v">{value(number)}</div>
      <svg viewBox="0 0 100 30" preserveAspectRatio="none" aria-hidden="true">
        <rect x="49" width="2" height="30" fill="var(--accent)" opacity="0.35" />
        <path
          d={pathOf(values, range)}
          fill="none"
          stroke="var(--s1)"
          stroke-width="1.5"
          vector-effect="non-scaling-stroke"
        />
      </svg>
    </a>
  );
}

/** The line of values in a box of 100 by 30. */
export function pathOf(values: [number, string][], range: { from: number; to: number }): string {
  const points = values
    .map(([seconds, text]) => [seconds * 1000, Number(text)] as const)
    .filter(([, number]) => Number.isFinite(number));
  const max = points.reduce((most, [, number]) => Math.max(most, number), 0);
  const min = points.reduce((least, [, number]) => Math.min(least, number), 0);
  return points
    .map(([time, number], index) => {
      const x = (100 * (time - range.from)) / (range.to - range.from);
      const y = 28 - (26 * (number - min)) / (max - min || 1);
      return `${index === 0 ? "M" : "L"}${x.toFixed(1)} ${y.toFixed(1)}`;
    })
    .join("");
}
