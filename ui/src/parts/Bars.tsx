// The bars of the story, on one canvas beside the rows.

import { useLayoutEffect, useRef, useState } from "preact/hooks";

import { severity } from "../lib/colour";
import { isError, type Row, type Story, timesOf } from "../lib/story";
import { context, painter } from "./canvas";
import { theme } from "./settings";
import { ROW } from "./use";
import type { Window } from "./Waterfall";

interface Props {
  rows: Row[];
  story: Story;
  colours: Map<string, string>;
  window: Window;
  /** Where lines across all rows stand. Units: ns from the start of the story. */
  ticks: number[];
  showCritical: boolean;
  first: number;
  last: number;
  /** Of the whole list; a new one moves the bars. */
  width: number;
}

/** The bars and marks of the rows from `first` to `last`. */
export function Bars({
  rows,
  story,
  colours,
  window: shown,
  ticks,
  showCritical,
  first,
  last,
  width,
}: Props) {
  const ref = useRef<HTMLCanvasElement>(null);
  const [box, setBox] = useState({ left: 0, width: 0 });
  useLayoutEffect(() => {
    // The third column of the head says where bars belong.
    const cell = ref.current?.closest(".fall")?.querySelector(".row.hd .ticks");
    const fall = ref.current?.closest(".rows");
    if (!cell || !fall) return;
    const cellBox = cell.getBoundingClientRect();
    setBox({ left: cellBox.left - fall.getBoundingClientRect().left, width: cellBox.width });
  }, [width]);
  // Before the browser paints: rows and bars move together.
  useLayoutEffect(() => {
    const canvas = ref.current;
    if (!canvas || box.width === 0) return;
    const draw = context(canvas, box.width, (last - first) * ROW);
    if (!draw) return;
    const span = Math.max(1, shown.to - shown.from);
    const x = (ns: bigint): number =>
      ((Number(ns - story.startNs) - shown.from) / span) * box.width;
    const paint = painter(canvas);
    draw.fillStyle = paint("var(--line)");
    for (const tick of ticks) {
      draw.fillRect(
        Math.round(((tick - shown.from) / span) * box.width),
        0,
        1,
        (last - first) * ROW,
      );
    }
    rows.slice(first, last).forEach((row, index) => {
      const y = index * ROW;
      const { startNs, endNs } = timesOf(row);
      const left = x(startNs);
      const right = x(endNs);
      if (right < -4 || left > box.width + 4) return;
      const from = Math.min(Math.max(left, -2), box.width - 2);
      const length = Math.max(2, Math.min(right, box.width + 2) - from);
      if (row.kind === "log") {
        draw.fillStyle = paint(
          isError(row)
            ? "var(--err)"
            : severity(row.log.severity) === "W"
              ? "var(--warn)"
              : "var(--dim)",
        );
        draw.fillRect(from, y + 4, 2, ROW - 8);
        return;
      }
      if (row.kind === "missing") {
        draw.strokeStyle = paint("var(--warn)");
        draw.setLineDash([3, 3]);
        draw.strokeRect(from + 0.5, y + 8.5, length, 8);
        draw.setLineDash([]);
        return;
      }
      const service = row.kind === "span" ? row.span.service : (row.spans[0]?.service ?? "");
      draw.globalAlpha = 0.85;
      draw.fillStyle = paint(isError(row) ? "var(--err)" : (colours.get(service) ?? "var(--dim)"));
      draw.beginPath();
      draw.roundRect(from, y + 8, length, 9, 2);
      draw.fill();
      draw.globalAlpha = 1;
      if (showCritical && row.kind === "span" && row.span.critical) {
        draw.fillStyle = paint("var(--crit)");
        draw.fillRect(from, y + 18.5, length, 2.5);
      }
    });
  }, [
    rows,
    first,
    last,
    box,
    shown.from,
    shown.to,
    showCritical,
    theme.value,
    colours,
    ticks.join(),
  ]);
  return (
    <canvas
      ref={ref}
      class="bars"
      aria-hidden="true"
      style={{
        left: `${box.left}px`,
        top: `${first * ROW}px`,
        width: `${box.width}px`,
        height: `${(last - first) * ROW}px`,
      }}
    />
  );
}
