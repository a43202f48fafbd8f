// The story as rows: text in virtual rows, bars on one canvas beside them, a minimap above.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";

import { computed, severity } from "../lib/colour";
import { isError, type Row, type Story, timesOf } from "../lib/story";
import { clock, duration } from "../lib/time";
import { theme, zone } from "./settings";
import { useSize } from "./use";

const ROW = 25;
/** Rows drawn above and below what is seen. */
const MARGIN = 8;

export interface Window {
  /** Nanoseconds from the start of the story. */
  from: number;
  to: number;
}

interface Props {
  story: Story;
  rows: Row[];
  colours: Map<string, string>;
  selected: string | null;
  window: Window;
  showCritical: boolean;
  onSelect: (row: Row) => void;
  onToggle: (row: Row) => void;
  onWindow: (window: Window | null) => void;
}

export function Waterfall(props: Props) {
  const { story, rows, selected, window: shown } = props;
  const scroll = useRef<HTMLDivElement>(null);
  const size = useSize(scroll);
  const [top, setTop] = useState(0);
  const first = Math.max(0, Math.floor(top / ROW) - MARGIN);
  const last = Math.min(rows.length, Math.ceil((top + (size.height || 600)) / ROW) + MARGIN);
  useEffect(() => {
    const index = rows.findIndex((row) => row.key === selected);
    const element = scroll.current;
    if (index < 0 || !element) return;
    const y = index * ROW;
    if (y < element.scrollTop) element.scrollTop = y;
    else if (y + ROW > element.scrollTop + element.clientHeight) {
      element.scrollTop = y + ROW - element.clientHeight;
    }
  }, [selected, rows]);
  const totalNs = Number(story.endNs - story.startNs);
  return (
    <div class="fall">
      <Minimap {...props} totalNs={totalNs} />
      <div class="row hd" role="presentation">
        <span class="t">time</span>
        <span class="n">what happened</span>
        <span class="ticks">
          {[0, 0.25, 0.5, 0.75].map((part) => (
            <span key={part}>{duration(shown.from + (shown.to - shown.from) * part)}</span>
          ))}
        </span>
        <span class="d">duration</span>
      </div>
      <div
        ref={scroll}
        class="scroll"
        tabIndex={-1}
        role="tree"
        aria-label="Spans and log lines in time order"
        style={{ height: `${Math.max(8, rows.length) * ROW}px` }}
        onScroll={(event) => setTop(event.currentTarget.scrollTop)}
      >
        <div style={{ height: `${rows.length * ROW}px`, position: "relative" }}>
          <div style={{ transform: `translateY(${first * ROW}px)` }}>
            {rows.slice(first, last).map((row) => (
              <RowText key={row.key} row={row} {...props} selected={row.key === selected} />
            ))}
          </div>
          <Bars {...props} first={first} last={last} width={size.width} />
        </div>
      </div>
    </div>
  );
}

interface RowProps {
  row: Row;
  colours: Map<string, string>;
  selected: boolean;
  onSelect: (row: Row) => void;
  onToggle: (row: Row) => void;
}

function RowText({ row, colours, selected, onSelect, onToggle }: RowProps) {
  const { startNs, endNs } = timesOf(row);
  const indent = { paddingLeft: `${row.depth * 14}px` };
  const time = clock(Number(startNs / 1_000_000n), zone.value);
  const toggle = (event: Event): void => {
    event.stopPropagation();
    onToggle(row);
  };
  return (
    <div
      class={`row ${row.kind}${selected ? " sel" : ""}`}
      role="treeitem"
      aria-level={row.depth + 1}
      aria-selected={selected}
      onClick={() => onSelect(row)}
    >
      <span class="t">{time}</span>
      <span class="n" style={indent}>
        {row.kind === "span" && (
          <>
            <button class="tw" tabIndex={-1} aria-label="open or close" onClick={toggle}>
              {row.children === 0 ? "·" : row.open ? "▾" : "▸"}
            </button>
            <span class="svc" style={{ background: colours.get(row.span.service) }} />
            {row.span.service} <span class="op">{row.span.name}</span>
            {!row.open && <span class="pill">{row.children} below</span>}
            {row.span.status === "error" && <span class="pill E">error</span>}
          </>
        )}
        {row.kind === "folded" && (
          <>
            <button class="tw" tabIndex={-1} aria-label="unfold" onClick={toggle}>
              ▸
            </button>
            <span class="svc" style={{ background: colours.get(row.spans[0]?.service ?? "") }} />
            {row.spans[0]?.service} <span class="op">{row.spans[0]?.name}</span>
            <span class="pill">{row.spans.length} × folded</span>
          </>
        )}
        {row.kind === "log" && (
          <span style={{ paddingLeft: "14px" }}>
            <span class={`lv ${severity(row.log.severity)}`}>{row.log.severity || "log"}</span>
            {row.log.line}
          </span>
        )}
        {row.kind === "missing" && (
          <>
            <span class="tw">·</span>
            <span class="svc gone" />
            {row.missing.text}
          </>
        )}
      </span>
      <span />
      <span class="d">
        {row.kind === "log" ? "" : row.kind === "missing" ? "?" : duration(Number(endNs - startNs))}
      </span>
    </div>
  );
}

/** Draws on a canvas of the device's own pixels. */
function context(
  canvas: HTMLCanvasElement,
  width: number,
  height: number,
): CanvasRenderingContext2D | null {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.max(1, Math.round(width * ratio));
  canvas.height = Math.max(1, Math.round(height * ratio));
  const draw = canvas.getContext("2d");
  draw?.scale(ratio, ratio);
  return draw;
}

function Bars(props: Props & { first: number; last: number; width: number }) {
  const { rows, story, colours, window: shown, showCritical, first, last, width } = props;
  const ref = useRef<HTMLCanvasElement>(null);
  const [box, setBox] = useState({ left: 0, width: 0 });
  useEffect(() => {
    // The third column of the head says where bars belong.
    const cell = ref.current?.closest(".fall")?.querySelector(".row.hd .ticks");
    const fall = ref.current?.closest(".scroll");
    if (!cell || !fall) return;
    const cellBox = cell.getBoundingClientRect();
    setBox({ left: cellBox.left - fall.getBoundingClientRect().left, width: cellBox.width });
  }, [width]);
  useEffect(() => {
    const canvas = ref.current;
    if (!canvas || box.width === 0) return;
    const draw = context(canvas, box.width, (last - first) * ROW);
    if (!draw) return;
    const span = Math.max(1, shown.to - shown.from);
    const x = (ns: bigint): number =>
      ((Number(ns - story.startNs) - shown.from) / span) * box.width;
    const paint = (colour: string): string => computed(colour, canvas);
    rows.slice(first, last).forEach((row, index) => {
      const y = index * ROW;
      const { startNs, endNs } = timesOf(row);
      const left = x(startNs);
      const right = x(endNs);
      if (right < -4 || left > box.width + 4) return;
      const from = Math.max(left, -2);
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
  }, [rows, first, last, box, shown.from, shown.to, showCritical, theme.value, colours]);
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

function Minimap(props: Props & { totalNs: number }) {
  const { story, colours, window: shown, totalNs, onWindow } = props;
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
    const depth = Math.max(1, ...spans.slice(0, 20_000).map((span) => span.depth + 1));
    const step = Math.max(2, Math.min(5, (size.height - 6) / depth));
    const paints = new Map([...colours].map(([name, colour]) => [name, computed(colour, canvas)]));
    const error = computed("var(--err)", canvas);
    for (const span of spans) {
      draw.fillStyle = span.error ? error : (paints.get(span.service) ?? error);
      const left = (span.start / totalNs) * size.width;
      const width = Math.max(1, ((span.end - span.start) / totalNs) * size.width);
      draw.fillRect(
        left,
        3 + Math.min(span.depth * step, size.height - 5),
        width,
        Math.max(1, step - 2),
      );
    }
    const accent = computed("var(--accent)", canvas);
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
