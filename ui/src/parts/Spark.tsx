// A metric around one moment, small: the line, and where the moment is.

import { queryRange } from "../api/metrics";
import { firstLook, pathOf } from "../lib/metric";
import { measured } from "../lib/number";
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
      <div class="v">{measured(name, number)}</div>
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
