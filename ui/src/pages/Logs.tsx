// Log search: the volume over time, and the lines newest first.

import { useSignal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";

import { type LogLine, queryLogs, queryMatrix } from "../api/logs";
import { severity } from "../lib/colour";
import { keysOf } from "../lib/line";
import { count, plural } from "../lib/number";
import { change, href, route } from "../lib/route";
import { clock, dateTime, type Range, rangeOf, stepOf } from "../lib/time";
import { copy } from "../parts/copy";
import { Pairs } from "../parts/Details";
import { Graph } from "../parts/Graph";
import { type Cursor, Legend } from "../parts/Legend";
import { RangePicker } from "../parts/RangePicker";
import { zone } from "../parts/settings";
import { Empty, Failed, Loading, Notices } from "../parts/states";
import { reveal, ROW, useKeys, useLoad, useVisible } from "../parts/use";
import { type Bucket, Volume } from "../parts/Volume";

const LIMIT = 1000;
const EVERYTHING = '{service_name=~".+"}';

const levelOf = (line: LogLine): string =>
  line.fields["detected_level"] ?? line.fields["severity_text"] ?? line.labels["level"] ?? "";

export function Logs() {
  const { params } = route.value;
  const query = params.get("q") ?? EVERYTHING;
  const key = [query, params.get("from"), params.get("to"), params.get("n")].join("|");
  const range = useMemo(() => rangeOf(params, Date.now()), [key]);
  const stepMs = stepOf(range, 120);
  const loaded = useLoad(key, (abort) => queryLogs(query, range, { limit: LIMIT, stepMs }, abort));
  const volume = useLoad(key, async (abort): Promise<Bucket[]> => {
    const counted = `sum by (detected_level) (count_over_time(${query} [${stepMs}ms]))`;
    return bucketsOf(await queryMatrix(counted, range, stepMs, abort), stepMs);
  });
  const cursor = useSignal<Cursor>(null);
  document.title = "Logs · Tercet";
  const answer =
    loaded.state === "done" ? loaded.data : loaded.state === "loading" ? loaded.before : null;
  return (
    <>
      <div class="bar-row">
        <h1>Logs</h1>
        <span class="mono dim">{query}</span>
        <button onClick={() => change({ n: String(Date.now()) })}>run again</button>
        <button onClick={() => copy(href(), "link")}>copy link</button>
      </div>
      <RangePicker />
      {volume.state === "done" && <Volume buckets={volume.data} range={range} stepMs={stepMs} />}
      {loaded.state === "failed" && (
        <Failed error={loaded.error} next="Change the query above, or type plain words." />
      )}
      {loaded.state === "loading" && !answer && <Loading what="log lines" />}
      {answer && <Notices list={answer.notices} />}
      {answer && answer.lines.length + answer.series.length === 0 && loaded.state === "done" && (
        <Empty title="No line matches in this time">
          <p>Widen the time, or take a word away. Words stand for lines that hold all of them.</p>
        </Empty>
      )}
      {answer && answer.series.length > 0 && (
        <>
          <Graph series={answer.series} range={range} cursor={cursor} />
          <Legend series={answer.series} stepMs={stepMs} cursor={cursor} />
        </>
      )}
      {answer && answer.lines.length > 0 && <List lines={answer.lines} range={range} />}
    </>
  );
}

function bucketsOf(
  series: { metric: Record<string, string>; values: [number, string][] }[],
  stepMs: number,
): Bucket[] {
  const buckets = new Map<number, Bucket>();
  for (const { metric, values } of series) {
    for (const [seconds, text] of values) {
      // A value at T counts the lines of the step that ends at T.
      const at = seconds * 1000 - stepMs;
      const bucket = buckets.get(at) ?? { at, levels: new Map<string, number>() };
      bucket.levels.set(metric["detected_level"] ?? "", Number(text));
      buckets.set(at, bucket);
    }
  }
  return [...buckets.values()].sort((a, b) => a.at - b.at);
}

function List({ lines, range }: { lines: LogLine[]; range: Range }) {
  const list = useRef<HTMLDivElement>(null);
  const { first, last } = useVisible(list, lines.length);
  const keys = useMemo(() => keysOf(lines), [lines]);
  const selected = route.value.params.get("line");
  const index = selected === null ? -1 : keys.indexOf(selected);
  const line = lines[index];
  useEffect(() => {
    if (list.current) reveal(list.current, index, 0);
  }, [selected, lines]);
  const move = (to: number): void => {
    change({ line: keys[Math.max(0, Math.min(lines.length - 1, to))] ?? null });
  };
  useKeys(
    (key) => {
      const actions: Record<string, () => void> = {
        j: () => move(index + 1),
        ArrowDown: () => move(index + 1),
        k: () => move(index - 1),
        ArrowUp: () => move(index - 1),
        Escape: () => change({ line: null }),
        y: () => copy(href(), "link"),
      };
      actions[key]?.();
      return actions[key] !== undefined;
    },
    [lines, selected],
  );
  const full = lines.length >= LIMIT;
  const oldest = Number(BigInt(lines.at(-1)?.timeNs ?? "0") / 1_000_000n) + 1;
  const older = (): void => {
    const width = range.to - range.from;
    change({ from: String(oldest - width), to: String(oldest), line: null }, "push");
    window.scrollTo(0, 0);
  };
  return (
    <>
      <p class="dim">
        {full ? `the newest ${count(lines.length)} lines` : plural(lines.length, "line")}, newest
        first
        <span class="wide">
          {" "}
          · <kbd>j</kbd> <kbd>k</kbd> move
        </span>
      </p>
      <div class={line ? "body" : "body alone"}>
        <div class="fall">
          <div
            ref={list}
            class="rows"
            tabIndex={0}
            role="listbox"
            aria-label="Log lines, newest first"
            aria-activedescendant={index >= first && index < last ? `line-${index}` : undefined}
            style={{ height: `${lines.length * ROW}px` }}
          >
            <div role="none" style={{ transform: `translateY(${first * ROW}px)` }}>
              {lines.slice(first, last).map((item, at) => (
                <div
                  key={keys[first + at]}
                  id={`line-${first + at}`}
                  role="option"
                  aria-selected={item === line}
                  aria-posinset={first + at + 1}
                  aria-setsize={lines.length}
                  class={`line ${severity(levelOf(item))}-line${item === line ? " sel" : ""}`}
                  onClick={() => change({ line: keys[first + at] ?? null })}
                >
                  <span class="t">
                    {clock(Number(BigInt(item.timeNs) / 1_000_000n), zone.value)}
                  </span>
                  <span class={`lv ${severity(levelOf(item))}`}>{levelOf(item)}</span>
                  <span class="svcname dim">{item.labels["service_name"]}</span>
                  <span>{item.line}</span>
                </div>
              ))}
            </div>
          </div>
        </div>
        {line && <Line line={line} />}
      </div>
      {full && (
        <p>
          <button onClick={older}>older lines</button>
        </p>
      )}
    </>
  );
}

function Line({ line }: { line: LogLine }) {
  const trace = line.fields["trace_id"];
  return (
    <aside aria-label="Line">
      <button class="close" onClick={() => change({ line: null })} title="Esc">
        close
      </button>
      <h2>
        <span class={severity(levelOf(line))}>{levelOf(line) || "log"}</span> ·{" "}
        {line.labels["service_name"]}
      </h2>
      <p class="dim mono">{dateTime(Number(BigInt(line.timeNs) / 1_000_000n), zone.value)}</p>
      <pre class="wrap">{line.line}</pre>
      {trace && <a href={`/id/${trace}`}>open its trace</a>}
      <h3>Fields</h3>
      <Pairs list={Object.entries(line.fields)} />
      <h3>Stream</h3>
      <Pairs list={Object.entries(line.labels)} />
    </aside>
  );
}
