// A line graph of series. uPlot owns the canvas; this only feeds it.

import type { Signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";

import type { Series } from "../api/metrics";
import { computed } from "../lib/colour";
import { nameOf } from "../lib/metric";
import { value } from "../lib/number";
import { axisTime } from "../lib/time";
import { change, route } from "../lib/route";
import { theme, zone } from "./settings";
import { useSize } from "./use";

/** More series than this are in the table only. */
export const SERIES_DRAWN_MAX = 100;

export function seriesColour(index: number): string {
  return index < 5 ? `var(--s${index + 1})` : `hsl(${(index * 47) % 360} 55% 55%)`;
}

/** Series on one time axis: a gap where a series has no value. */
export function aligned(series: Series[]): uPlot.AlignedData {
  const times = [...new Set(series.flatMap((one) => one.values.map(([time]) => time)))].sort(
    (a, b) => a - b,
  );
  const at = new Map(times.map((time, index) => [time, index]));
  const columns = series.map((one) => {
    const column: (number | null)[] = new Array<number | null>(times.length).fill(null);
    for (const [time, text] of one.values) {
      const number = Number(text === "+Inf" ? "Infinity" : text === "-Inf" ? "-Infinity" : text);
      column[at.get(time) ?? 0] = Number.isFinite(number) ? number : null;
    }
    return column;
  });
  return [times, ...columns];
}

export function Graph({
  series,
  range,
  cursor,
}: {
  series: Series[];
  range: { from: number; to: number };
  /** Gets the seconds under the pointer. */
  cursor: Signal<number | null>;
}) {
  const ref = useRef<HTMLDivElement>(null);
  const size = useSize(ref);
  const only = route.value.params.get("only");
  useEffect(() => {
    const element = ref.current;
    if (!element || size.width === 0) return;
    const paint = (colour: string): string => computed(colour, element);
    const axis = {
      stroke: paint("var(--faint)"),
      grid: { stroke: paint("var(--line)"), width: 1 },
      ticks: { stroke: paint("var(--line)"), width: 1 },
      font: "11px ui-monospace, monospace",
    };
    const drawn = series.slice(0, SERIES_DRAWN_MAX);
    const alone = drawn.some((one) => nameOf(one.metric) === only);
    const data = aligned(drawn);
    const plot = new uPlot(
      {
        width: size.width,
        height: 300,
        scales: { x: { time: true, range: [range.from / 1000, range.to / 1000] } },
        ...(zone.value === "UTC"
          ? { tzDate: (seconds: number) => uPlot.tzDate(new Date(seconds * 1000), "UTC") }
          : {}),
        axes: [
          {
            ...axis,
            size: 30,
            values: (_, splits) => {
              const stepMs = ((splits[1] ?? 0) - (splits[0] ?? 0)) * 1000;
              return splits.map((at) => axisTime(at * 1000, stepMs, zone.value));
            },
          },
          { ...axis, size: 64, values: (_, splits) => splits.map(value) },
        ],
        series: [
          {},
          ...drawn.map((one, index) => ({
            show: !alone || nameOf(one.metric) === only,
            stroke: paint(seriesColour(index)),
            width: 1.5,
            points: { show: one.values.length === 1 },
          })),
        ],
        legend: { show: false }, // The table below is one.
        cursor: { drag: { x: true, y: false, setScale: false } },
        hooks: {
          setCursor: [
            (self) => {
              const index = self.cursor.left !== undefined && self.cursor.left >= 0;
              cursor.value = index ? (data[0][self.cursor.idx ?? -1] ?? null) : null;
            },
          ],
          setSelect: [
            (self) => {
              if (self.select.width < 4) return;
              const from = self.posToVal(self.select.left, "x") * 1000;
              const to = self.posToVal(self.select.left + self.select.width, "x") * 1000;
              change({ from: String(Math.round(from)), to: String(Math.round(to)) }, "push");
            },
          ],
        },
      },
      data,
      element,
    );
    return () => plot.destroy();
  }, [series, size.width, theme.value, zone.value, range.from, range.to, only]);
  return (
    <div class="graph" role="img" aria-label="Graph of the series below; drag to zoom">
      <div ref={ref} />
    </div>
  );
}
