// A PromQL query over time: the graph and its series. Without a query, the names of all metrics.

import { useSignal } from "@preact/signals";
import { useMemo } from "preact/hooks";

import { metricNames, queryRange } from "../api/metrics";
import { firstLook } from "../lib/metric";
import { count, plural } from "../lib/number";
import { change, href, route } from "../lib/route";
import { rangeOf, stepOf } from "../lib/time";
import { copy } from "../parts/copy";
import { Graph } from "../parts/Graph";
import { type Cursor, Legend } from "../parts/Legend";
import { RangePicker } from "../parts/RangePicker";
import { Empty, EmptyPage, Failed, Loading, Notices } from "../parts/states";
import { useLoad } from "../parts/use";

export function Metrics() {
  document.title = "Metrics · Tercet";
  const query = route.value.params.get("q") ?? "";
  return query === "" ? <Names /> : <Query query={query} />;
}

function Names() {
  const loaded = useLoad("names", metricNames);
  const part = route.value.params.get("part") ?? "";
  if (loaded.state === "failed") return <Failed error={loaded.error} next="Reload to try again." />;
  if (loaded.state === "loading") return <Loading what="metrics" />;
  if (loaded.data.length === 0) {
    return (
      <EmptyPage title="No metrics yet">
        <p>
          <a href="/">How to send some</a>
        </p>
      </EmptyPage>
    );
  }
  const shown = loaded.data.filter((name) => name.includes(part));
  return (
    <>
      <div class="bar-row">
        <h1>{plural(loaded.data.length, "metric")}</h1>
        <label class="box short">
          <input
            value={part}
            aria-label="Part of a metric's name"
            placeholder="part of a name"
            onInput={(event) => change({ part: event.currentTarget.value })}
          />
        </label>
      </div>
      <div class="names">
        {shown.slice(0, 500).map((name) => (
          <a key={name} class="mono" href={`/graph?q=${encodeURIComponent(firstLook(name))}`}>
            {name}
          </a>
        ))}
      </div>
      {shown.length > 500 && (
        <p class="dim">and {count(shown.length - 500)} more: type a part of the name</p>
      )}
    </>
  );
}

function Query({ query }: { query: string }) {
  const { params } = route.value;
  const key = [query, params.get("from"), params.get("to"), params.get("n")].join("|");
  const range = useMemo(() => rangeOf(params, Date.now()), [key]);
  const stepMs = stepOf(range, 300);
  const cursor = useSignal<Cursor>(null);
  const loaded = useLoad(key, (abort) => queryRange(query, range, stepMs, abort));
  const answer =
    loaded.state === "done" ? loaded.data : loaded.state === "loading" ? loaded.before : null;
  return (
    <>
      <div class="bar-row">
        <h1>Metrics</h1>
        <span class="mono dim">{query}</span>
        <button onClick={() => change({ n: String(Date.now()) })}>run again</button>
        <button onClick={() => copy(href(), "link")}>copy link</button>
      </div>
      <RangePicker />
      {loaded.state === "failed" && (
        <Failed
          error={loaded.error}
          next="Change the query above; the place of the mistake is in the message."
        />
      )}
      {loaded.state === "loading" && !answer && <Loading what="series" />}
      {answer && <Notices list={answer.notices} />}
      {answer && answer.series.length === 0 && loaded.state === "done" && (
        <Empty title="No series in this time">
          <p>
            Widen the time, or look at <a href="/graph">all metrics</a>.
          </p>
        </Empty>
      )}
      {answer && answer.series.length > 0 && (
        <>
          <Graph series={answer.series} range={range} cursor={cursor} />
          <Legend series={answer.series} stepMs={stepMs} cursor={cursor} />
        </>
      )}
    </>
  );
}
