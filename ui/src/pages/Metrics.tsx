// A PromQL query over time: the graph and its series. Without a query, the names of all metrics.

import { useMemo, useState } from "preact/hooks";

import { metricNames, queryRange, type Series } from "../api/metrics";
import { count, plural, value } from "../lib/number";
import { change, route } from "../lib/route";
import { rangeOf, stepOf } from "../lib/time";
import { copy } from "../parts/copy";
import { Graph, SERIES_DRAWN_MAX, seriesColour } from "../parts/Graph";
import { RangePicker } from "../parts/RangePicker";
import { Empty, Failed, Loading, Notices } from "../parts/states";
import { useLoad } from "../parts/use";

export function Metrics() {
  document.title = "Metrics · Tercet";
  const query = route.value.params.get("q") ?? "";
  return query === "" ? <Names /> : <Query query={query} />;
}

function Names() {
  const loaded = useLoad("names", metricNames);
  const [part, setPart] = useState("");
  if (loaded.state === "failed") return <Failed error={loaded.error} next="Reload to try again." />;
  if (loaded.state === "loading") return <Loading what="metrics" />;
  if (loaded.data.length === 0) {
    return (
      <Empty title="No metrics yet">
        <p>
          <a href="/">How to send some</a>
        </p>
      </Empty>
    );
  }
  const shown = loaded.data.filter((name) => name.includes(part));
  return (
    <>
      <div class="bar-row">
        <h1>{plural(loaded.data.length, "metric")}</h1>
        <label class="box" style={{ maxWidth: "320px" }}>
          <input
            value={part}
            aria-label="Part of a metric's name"
            placeholder="part of a name"
            onInput={(event) => setPart(event.currentTarget.value)}
          />
        </label>
      </div>
      <div class="cards">
        {shown.slice(0, 500).map((name) => (
          <a key={name} class="mono" href={`/metrics?q=${encodeURIComponent(firstLook(name))}`}>
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

/** What one would ask of a metric first, by its name. */
export function firstLook(name: string): string {
  const quoted = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/.test(name) ? name : `{${JSON.stringify(name)}}`;
  if (name.endsWith("_bucket"))
    return `histogram_quantile(0.99, sum by (le) (rate(${quoted}[5m])))`;
  if (/_(total|count|sum)$/.test(name)) return `rate(${quoted}[5m])`;
  return quoted;
}

function Query({ query }: { query: string }) {
  const { params } = route.value;
  const key = [query, params.get("from"), params.get("to"), params.get("n")].join("|");
  const range = useMemo(() => rangeOf(params, Date.now()), [key]);
  const stepMs = stepOf(range, 300);
  const loaded = useLoad(key, (abort) => queryRange(query, range, stepMs, abort));
  const answer =
    loaded.state === "done" ? loaded.data : loaded.state === "loading" ? loaded.before : null;
  return (
    <>
      <div class="bar-row">
        <h1>Metrics</h1>
        <span class="mono dim">{query}</span>
        <button onClick={() => change({ n: String(Date.now()) })}>run again</button>
        <button onClick={() => copy(window.location.href, "link")}>copy link</button>
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
            Widen the time, or look at <a href="/metrics">all metrics</a>.
          </p>
        </Empty>
      )}
      {answer && answer.series.length > 0 && (
        <>
          <Graph series={answer.series} range={range} />
          <Legend series={answer.series} stepMs={stepMs} />
        </>
      )}
    </>
  );
}

function Legend({ series, stepMs }: { series: Series[]; stepMs: number }) {
  const last = (one: Series): number => Number(one.values.at(-1)?.[1]);
  const max = (one: Series): number =>
    Math.max(...one.values.map(([, text]) => Number(text)).filter((v) => !Number.isNaN(v)));
  return (
    <table>
      <thead>
        <tr>
          <th>
            {plural(series.length, "series").replace("seriess", "series")}, a point each{" "}
            {stepMs / 1000} s
          </th>
          <th class="num">last</th>
          <th class="num">max</th>
        </tr>
      </thead>
      <tbody>
        {series.slice(0, SERIES_DRAWN_MAX).map((one, index) => (
          <tr key={index}>
            <td class="mono">
              <span class="svc" style={{ background: seriesColour(index) }} />
              {nameOf(one.metric)}
            </td>
            <td class="num">{value(last(one))}</td>
            <td class="num">{value(max(one))}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function nameOf(metric: Record<string, string>): string {
  const { __name__: name = "", ...labels } = metric;
  const inside = Object.entries(labels).map(([key, text]) => `${key}=${JSON.stringify(text)}`);
  return inside.length === 0 ? name || "{}" : `${name}{${inside.join(", ")}}`;
}
