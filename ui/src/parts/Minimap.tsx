// The whole time line on one canvas.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";

import type { Story } from "../lib/story";
import { context, painter } from "./canvas";
import { theme } from "./settings";
import { useSize } from "./use";
import type { Window } from "./Waterfall";

interface Props {
  story: Story;
  colours: Map<string, string>;
  window: Window;
  totalNs: number;
  onWindow: (window: Window | null) => void;
}

/** All spans at once, each a line by its depth. Drag to zoom. */
export function Minimap({ story, colours, window: shown, totalNs, onWindow }: Props) {
  const ref = useRef<HTMLCanvasElement>(null);
  const size = useSize(ref);
  const [drag, setDrag] = useState<{ from: number; to: number } | null>(null);
  const spans = useMemo(() => {
    const list: { start: number; end: number; service: string; error: boolean; depth: number }[] =
      [];
    const stack = story.roots.map((node) => ({ node, depth: 0 }));
    for (;;) {
      const top = stack.pop();
      if (!top) break;
      const { node, depth } = top;
      list.push({
        start: Number(node.startNs - story.startNs),
        end: Number(node.endNs - story.startNs),
        service: node.span.service,
        error: node.span.status === "error",
        depth,
      });
      for (const child of node.children) stack.push({ node: child, depth: depth + 1 });
    }
    return list;
  }, [story]);
  useEffect(() => {
    const canvas = ref.current;
    if (!canvas || size.width === 0) return;
    const draw = context(canvas, size.width, size.height);
    if (!draw) return;
    const paint = painter(canvas);
    const depth = spans.reduce((deepest, span) => Math.max(deepest, span.depth + 1), 1);
    const step = Math.max(2, Math.min(5, (size.height - 6) / depth));
    for (const span of spans) {
      draw.fillStyle = paint(
        span.error ? "var(--err)" : (colours.get(span.service) ?? "var(--dim)"),
      );
      const left = (span.start / totalNs) * size.width;
      const width = Math.max(1, ((span.end - span.start) / totalNs) * size.width);
      draw.fillRect(
        left,
        3 + Math.min(span.depth * step, size.height - 5),
        width,
        Math.max(1, step - 2),
      );
    }
    const accent = paint("var(--accent)");
    const chosen =
      drag ?? (shown.from > 0 || shown.to < totalNs ? { from: shown.from, to: shown.to } : null);
    if (chosen) {
      const left = (Math.min(chosen.from, chosen.to) / totalNs) * size.width;
      const right = (Math.max(chosen.from, chosen.to) / totalNs) * size.width;
      draw.fillStyle = accent;
      draw.globalAlpha = 0.15;
      draw.fillRect(left, 0, right - left, size.height);
      draw.globalAlpha = 1;
      draw.fillRect(left, 0, 1, size.height);
      draw.fillRect(right - 1, 0, 1, size.height);
    }
  }, [spans, size, shown.from, shown.to, drag, theme.value, colours]);
  const at = (event: PointerEvent): number => {
    const box = (event.currentTarget as Element).getBoundingClientRect();
    return Math.max(0, Math.min(1, (event.clientX - box.left) / box.width)) * totalNs;
  };
  return (
    <canvas
      ref={ref}
      class="mini"
      style={{ width: "100%" }}
      role="img"
      aria-label="All spans on one time line; drag to zoom"
      title="drag to zoom, double-click for all"
      onPointerDown={(event) => {
        event.currentTarget.setPointerCapture(event.pointerId);
        setDrag({ from: at(event), to: at(event) });
      }}
      onPointerMove={(event) => {
        if (drag) setDrag({ ...drag, to: at(event) });
      }}
      onPointerUp={() => {
        if (drag && Math.abs(drag.to - drag.from) > totalNs / 200) {
          onWindow({ from: Math.min(drag.from, drag.to), to: Math.max(drag.from, drag.to) });
        }
        setDrag(null);
      }}
      onDblClick={() => onWindow(null)}
    />
  );
}
