// Log lines over time, stacked by level; drag to zoom.

import { useEffect, useRef, useState } from "preact/hooks";

import { computed, severity } from "../lib/colour";
import { change } from "../lib/route";
import type { Range } from "../lib/time";
import { theme } from "./settings";
import { useSize } from "./use";

export interface Bucket {
  /** Start of the bucket. Units: ms. */
  at: number;
  levels: Map<string, number>;
}

const ORDER = ["D", "I", "W", "E"] as const;
const COLOURS = { D: "var(--faint)", I: "var(--accent)", W: "var(--warn)", E: "var(--err)" };

export function Volume({
  buckets,
  range,
  stepMs,
}: {
  buckets: Bucket[];
  range: Range;
  stepMs: number;
}) {
  const ref = useRef<HTMLCanvasElement>(null);
  const size = useSize(ref);
  const [drag, setDrag] = useState<{ from: number; to: number } | null>(null);
  const width = range.to - range.from;
  useEffect(() => {
    const canvas = ref.current;
    if (!canvas || size.width === 0) return;
    const ratio = window.devicePixelRatio || 1;
    canvas.width = size.width * ratio;
    canvas.height = size.height * ratio;
    const draw = canvas.getContext("2d");
    if (!draw) return;
    draw.scale(ratio, ratio);
    const totals = buckets.map((bucket) => [...bucket.levels.values()].reduce((a, b) => a + b, 0));
    const max = Math.max(1, ...totals);
    const barWidth = Math.max(1, (stepMs / width) * size.width - 1);
    for (const bucket of buckets) {
      let y = size.height - 2;
      const x = ((bucket.at - range.from) / width) * size.width;
      for (const kind of ORDER) {
        const lines = [...bucket.levels].filter(([level]) => severity(level) === kind);
        const height = (lines.reduce((sum, [, n]) => sum + n, 0) / max) * (size.height - 18);
        if (height === 0) continue;
        draw.fillStyle = computed(COLOURS[kind], canvas);
        draw.fillRect(x, y - Math.max(1, height), barWidth, Math.max(1, height));
        y -= height;
      }
    }
    draw.fillStyle = computed("var(--faint)", canvas);
    draw.font = "11px ui-monospace, monospace";
    draw.fillText(`${max.toLocaleString("en-US")} lines / ${stepMs / 1000} s`, 8, 13);
    if (drag) {
      draw.fillStyle = computed("var(--accent)", canvas);
      draw.globalAlpha = 0.2;
      draw.fillRect(
        Math.min(drag.from, drag.to) * size.width,
        0,
        Math.abs(drag.to - drag.from) * size.width,
        size.height,
      );
      draw.globalAlpha = 1;
    }
  }, [buckets, size, drag, theme.value, range.from, range.to]);
  const at = (event: PointerEvent): number => {
    const box = (event.currentTarget as Element).getBoundingClientRect();
    return Math.max(0, Math.min(1, (event.clientX - box.left) / box.width));
  };
  return (
    <canvas
      ref={ref}
      class="volume"
      style={{ width: "100%" }}
      role="img"
      aria-label="Log lines over time by level; drag to zoom"
      onPointerDown={(event) => {
        event.currentTarget.setPointerCapture(event.pointerId);
        setDrag({ from: at(event), to: at(event) });
      }}
      onPointerMove={(event) => {
        if (drag) setDrag({ ...drag, to: at(event) });
      }}
      onPointerUp={() => {
        if (drag && Math.abs(drag.to - drag.from) > 0.005) {
          const ends = [drag.from, drag.to]
            .map((part) => range.from + part * width)
            .sort((a, b) => a - b);
          change(
            { from: String(Math.round(ends[0] ?? 0)), to: String(Math.round(ends[1] ?? 0)) },
            "push",
          );
        }
        setDrag(null);
      }}
    />
  );
}
