// The newest traces of one service: for who has no ID at hand yet.

import { useMemo } from "preact/hooks";

import { findTraces, services } from "../api/traces";
import { coloursOf } from "../lib/colour";
import { plural } from "../lib/number";
import { change, route } from "../lib/route";
import { dateTime, duration, parseDuration, rangeOf } from "../lib/time";
import { summariesOf } from "../lib/trace";
import { RangePicker } from "../parts/RangePicker";
import { zone } from "../parts/settings";
import { Empty, EmptyPage, Failed, Loading } from "../parts/states";
import { useLoad } from "../parts/use";

const LIMIT = 100;

export function Traces() {
  document.title = "Traces · Tercet";
  const loaded = useLoad("services", services);
  if (loaded.state === "failed") return <Failed error={loaded.error} next="Reload to try again." />;
  if (loaded.state === "loading") return <Loading what="services" />;
  const service = route.value.params.get("service") ?? loaded.data[0];
  if (service === undefined) {
    return (
      <EmptyPage title="No traces yet">
        <p>
          <a href="/">How to send some</a>
        </p>
      </EmptyPage>
    );
  }
  return <Of service={service} all={loaded.data} />;
}

function Of({ service, all }: { service: string; all: string[] }) {
  const { params } = route.value;
  const longerThan = params.get("longer") ?? "";
  const errorsOnly = params.get("errors") === "only";
  const key = ["from", "to", "longer", "errors", "n"].map((name) => params.get(name)).join("|");
  const range = useMemo(() => rangeOf(params, Date.now()), [key]);
  const wrong = longerThan !== "" && parseDuration(longerThan) === null;
  const wanted = { ...range, service, longerThan: wrong ? "" : longerThan, errorsOnly };
  const loaded = useLoad(`${service}|${key}`, (abort) =>
    findTraces({ ...wanted, limit: LIMIT }, abort),
  );
  const found = loaded.state === "done" ? loaded.data : [];
  const summaries = useMemo(() => summariesOf(found), [loaded]);
  const colours = coloursOf(all);
  const longest = summaries.reduce((most, one) => Math.max(most, one.durationNs), 1);
  return (
    <>
      <div class="bar-row">
        <h1>Traces</h1>
        <select
          aria-label="Service"
          value={service}
          onChange={(event) => change({ service: event.currentTarget.value }, "push")}
        >
          {[...new Set([...all, service])].map((name) => (
            <option key={name}>{name}</option>
          ))}
        </select>
        <label class="box short">
          <input
            value={longerThan}
            aria-label="Longer than"
            aria-invalid={wrong}
            placeholder="longer than 100ms"
            onChange={(event) => change({ longer: event.currentTarget.value.trim() }, "push")}
          />
        </label>
        <button
          aria-pressed={errorsOnly}
          onClick={() => change({ errors: errorsOnly ? null : "only" }, "push")}
        >
          errors only
        </button>
        <button onClick={() => change({ n: String(Date.now()) })}>run again</button>
        {wrong && <span class="W">write a length as 100ms, 2s or 1m30s</span>}
      </div>
      <RangePicker />
      {loaded.state === "failed" && (
        <Failed error={loaded.error} next="Change what is asked for." />
      )}
      {loaded.state === "loading" && <Loading what="traces" />}
      {loaded.state === "done" && summaries.length === 0 && (
        <Empty title={`No such trace of ${service} in this time`}>
          <p>Widen the time, or ask for less.</p>
        </Empty>
      )}
      {summaries.length > 0 && (
        <>
          <p class="dim">
            {summaries.length >= LIMIT ? "the newest " : ""}
            {plural(summaries.length, "trace")}, newest first
          </p>
          <div class="wide-table" tabIndex={0}>
            <table class="traces">
              <thead>
                <tr>
                  <th class="wide">start</th>
                  <th>root</th>
                  <th class="wide">spans</th>
                  <th>duration</th>
                </tr>
              </thead>
              <tbody>
                {summaries.map((one) => (
                  <tr key={one.traceId}>
                    <td class="mono dim wide">{dateTime(one.startMs, zone.value)}</td>
                    <td>
                      <a href={`/id/${one.traceId}`}>
                        <span class="svc" style={{ background: colours.get(one.service) }} />
                        {one.service} <span class="dim">{one.name}</span>
                      </a>
                      {one.errors > 0 && <span class="pill E">{plural(one.errors, "error")}</span>}
                    </td>
                    <td class="dim wide">
                      {plural(one.spans, "span")}, {plural(one.services, "service")}
                    </td>
                    <td class="num">
                      {duration(one.durationNs)}
                      <i
                        class={one.errors > 0 ? "length bad" : "length"}
                        style={{ width: `${(100 * one.durationNs) / longest}%` }}
                      />
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        </>
      )}
    </>
  );
}
