// The story as rows: text in virtual rows, bars on one canvas beside them, a minimap above.
// The page itself scrolls; minimap and ticks stay in sight.

import { useEffect, useRef } from "preact/hooks";

import { severity } from "../lib/colour";
import { type Row, type Story, timesOf } from "../lib/story";
import { clock, duration, ticksOf } from "../lib/time";
import { Bars } from "./Bars";
import { Minimap } from "./Minimap";
import { zone } from "./settings";
import { reveal, ROW, useSize, useVisible } from "./use";

/** A tick's label needs so much room. Units: px. */
const TICK_WIDTH = 62;
/** Nearer to the right edge a label would stand in the next column. Units: px. */
const LABEL_WIDTH = 48;

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
  const list = useRef<HTMLDivElement>(null);
  const head = useRef<HTMLDivElement>(null);
  const scale = useRef<HTMLSpanElement>(null);
  const size = useSize(list);
  const scaleWidth = useSize(scale).width;
  const { first, last } = useVisible(list, rows.length);
  const chosen = rows.findIndex((row) => row.key === selected);
  useEffect(() => {
    if (list.current) reveal(list.current, chosen, head.current?.offsetHeight ?? 0);
  }, [selected, rows]);
  const totalNs = Number(story.endNs - story.startNs);
  const ticks = ticksOf(shown.from, shown.to, Math.max(1, Math.floor(scaleWidth / TICK_WIDTH)));
  const place = (tick: number) => (tick - shown.from) / (shown.to - shown.from);
  const labelled = ticks.filter((tick) => (1 - place(tick)) * scaleWidth >= LABEL_WIDTH);
  return (
    <div class="fall">
      <div class="sticky" ref={head}>
        <Minimap {...props} totalNs={totalNs} />
        <div class="row hd">
          <span class="t">time</span>
          <span class="n">what happened</span>
          <span class="ticks" ref={scale}>
            {labelled.map((tick) => (
              <span key={tick} style={{ left: `${100 * place(tick)}%` }}>
                {tick === 0 ? "0" : duration(tick)}
              </span>
            ))}
          </span>
          <span class="d">duration</span>
        </div>
      </div>
      <div
        ref={list}
        class="rows"
        tabIndex={0}
        role="tree"
        aria-label="Spans and log lines in time order"
        aria-activedescendant={chosen >= first && chosen < last ? `row-${chosen}` : undefined}
        style={{ height: `${rows.length * ROW}px` }}
      >
        <div role="none" style={{ transform: `translateY(${first * ROW}px)` }}>
          {rows.slice(first, last).map((row, at) => (
            <RowText
              key={row.key}
              row={row}
              index={first + at}
              {...props}
              selected={row.key === selected}
            />
          ))}
        </div>
        <Bars {...props} ticks={ticks} first={first} last={last} width={size.width} />
      </div>
    </div>
  );
}

interface RowProps {
  row: Row;
  index: number;
  colours: Map<string, string>;
  selected: boolean;
  onSelect: (row: Row) => void;
  onToggle: (row: Row) => void;
}

function RowText({ row, index, colours, selected, onSelect, onToggle }: RowProps) {
  const { startNs, endNs } = timesOf(row);
  // Deep rows keep room for their name.
  const indent = { paddingLeft: `min(${row.depth * 14}px, 45%)` };
  const time = clock(Number(startNs / 1_000_000n), zone.value);
  const toggle = (event: Event): void => {
    event.stopPropagation();
    onToggle(row);
  };
  return (
    <div
      class={`row ${row.kind}${selected ? " sel" : ""}`}
      id={`row-${index}`}
      role="treeitem"
      aria-expanded={
        row.kind === "folded"
          ? false
          : row.kind === "span" && row.children > 0
            ? row.open
            : undefined
      }
      aria-level={row.depth + 1}
      aria-selected={selected}
      onClick={() => onSelect(row)}
    >
      <span class="t">{time}</span>
      <span class="n" style={indent}>
        {row.kind === "span" && (
          <>
            {row.children === 0 ? (
              <span class="tw" aria-hidden="true">
                ·
              </span>
            ) : (
              <span class="tw" aria-hidden="true" onClick={toggle}>
                {row.open ? "▾" : "▸"}
              </span>
            )}
            <span class="svc" style={{ background: colours.get(row.span.service) }} />
            <span class="what">
              {row.span.service} <span class="op">{row.span.name}</span>
            </span>
            {!row.open && <span class="pill">{row.children} below</span>}
            {row.span.status === "error" && <span class="pill E">error</span>}
          </>
        )}
        {row.kind === "folded" && (
          <>
            <span class="tw" aria-hidden="true" onClick={toggle}>
              ▸
            </span>
            <span class="svc" style={{ background: colours.get(row.spans[0]?.service ?? "") }} />
            <span class="what">
              {row.spans[0]?.service} <span class="op">{row.spans[0]?.name}</span>
            </span>
            <span class="pill">{row.spans.length} × folded</span>
          </>
        )}
        {row.kind === "log" && (
          <>
            <span class={`lv ${severity(row.log.severity)}`}>{row.log.severity || "log"}</span>
            <span class="what">{row.log.line}</span>
          </>
        )}
        {row.kind === "missing" && (
          <>
            <span class="tw" aria-hidden="true">
              ·
            </span>
            <span class="svc gone" />
            <span class="what">{row.missing.text}</span>
          </>
        )}
      </span>
      <span class="d">
        {row.kind === "log" ? "" : row.kind === "missing" ? "?" : duration(Number(endNs - startNs))}
      </span>
    </div>
  );
}
