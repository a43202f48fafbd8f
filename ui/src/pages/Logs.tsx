// Log search: the volume over time, and the lines newest first.

import { useMemo, useRef, useState } from "preact/hooks";

import { type LogLine, queryLogs, queryMatrix } from "../api/logs";
import { severity } from "../lib/colour";
import { count, plural } from "../lib/number";
import { change, route } from "../lib/route";
import { clock, dateTime, rangeOf, stepOf } from "../lib/time";
import { copy } from "../parts/copy";
import { Pairs } from "../parts/Details";
import { RangePicker } from "../parts/RangePicker";
import { zone } from "../parts/settings";
import { Empty, Failed, Loading, Notices } from "../parts/states";
import { useKeys, useLoad, useSize } from "../parts/use";
import { type Bucket, Volume } from "../parts/Volume";

const ROW = 25;
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
  const loaded = useLoad(key, (abort) => queryLogs(query, range, LIMIT, abort));
  const volume = useLoad(key, async (abort): Promise<Bucket[]> => {
    const counted = `sum by (detected_level) (count_over_time(${query} [${stepMs}ms]))`;
    return bucketsOf(await queryMatrix(counted, range, stepMs, abort), stepMs);
  });
  document.title = "Logs · Tercet";
  const answer =
    loaded.state === "done" ? loaded.data : loaded.state === "loading" ? loaded.before : null;
  return (
    <>
      <div class="bar-row">
        <h1>Logs</h1>
        <span class="mono dim">{query}</span>
        <button onClick={() => change({ n: String(Date.now()) })}>run again</button>
        <button onClick={() => copy(window.location.href, "link")}>copy link</button>
      </div>
      <RangePicker />
      {volume.state === "done" && <Volume buckets={volume.data} range={range} stepMs={stepMs} />}
      {loaded.state === "failed" && (
        <Failed error={loaded.error} next="Change the query above, or type plain words." />
      )}
      {loaded.state === "loading" && !answer && <Loading what="log lines" />}
      {answer && <Notices list={answer.notices} />}
      {answer && answer.lines.length === 0 && loaded.state === "done" && (
        <Empty title="No line matches in this time">
          <p>Widen the time, or take a word away. Words stand for lines that hold all of them.</p>
        </Empty>
      )}
      {answer && answer.lines.length > 0 && <List lines={answer.lines} />}
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

function List({ lines }: { lines: LogLine[] }) {
  const scroll = useRef<HTMLDivElement>(null);
  const size = useSize(scroll);
  const [top, setTop] = useState(0);
  const selected = route.value.params.get("line");
  const index = lines.findIndex((line) => line.timeNs === selected);
  const line = lines[index];
  const first = Math.max(0, Math.floor(top / ROW) - 8);
  const last = Math.min(lines.length, Math.ceil((top + (size.height || 600)) / ROW) + 8);
  const move = (to: number): void => {
    const next = lines[Math.max(0, Math.min(lines.length - 1, to))];
    if (next) change({ line: next.timeNs });
    const element = scroll.current;
    if (!element) return;
    const y = to * ROW;
    if (y < element.scrollTop) element.scrollTop = y;
    else if (y + ROW > element.scrollTop + element.clientHeight)
      element.scrollTop = y + ROW - element.clientHeight;
  };
  useKeys(
    (key) => {
      const actions: Record<string, () => void> = {
        j: () => move(index + 1),
        ArrowDown: () => move(index + 1),
        k: () => move(index - 1),
        ArrowUp: () => move(index - 1),
        Escape: () => change({ line: null }),
        y: () => copy(window.location.href, "link"),
      };
      actions[key]?.();
      return actions[key] !== undefined;
    },
    [lines, selected],
  );
  return (
    <>
      <p class="dim">
        {lines.length >= LIMIT
          ? `the newest ${count(lines.length)} lines`
          : plural(lines.length, "line")}
        , newest first
      </p>
      <div class={line ? "body" : "body alone"}>
        <div class="fall">
          <div
            ref={scroll}
            class="scroll"
            tabIndex={-1}
            style={{ height: `${Math.max(8, lines.length) * ROW}px` }}
            onScroll={(event) => setTop(event.currentTarget.scrollTop)}
          >
            <div style={{ height: `${lines.length * ROW}px` }}>
              <div style={{ transform: `translateY(${first * ROW}px)` }}>
                {lines.slice(first, last).map((item, at) => (
                  <div
                    key={first + at}
                    class={`line${item === line ? " sel" : ""}`}
                    onClick={() => change({ line: item.timeNs })}
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
        </div>
        {line && <Line line={line} />}
      </div>
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
      <pre style={{ whiteSpace: "pre-wrap", overflowWrap: "anywhere" }}>{line.line}</pre>
      {trace && <a href={`/id/${trace}`}>open its trace</a>}
      <h3>Fields</h3>
      <Pairs list={Object.entries(line.fields)} />
      <h3>Stream</h3>
      <Pairs list={Object.entries(line.labels)} />
    </aside>
  );
}
