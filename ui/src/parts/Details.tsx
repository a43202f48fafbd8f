// The panel beside the story: everything about one span, log line or missing span.

import { Fragment } from "preact";

import type { Attributes } from "../api/lookup";
import { classify } from "../lib/classify";
import { severity } from "../lib/colour";
import type { Row } from "../lib/story";
import { dateTime, duration } from "../lib/time";
import { copy } from "./copy";
import { zone } from "./settings";

const text = (value: unknown): string =>
  typeof value === "string" ? value : JSON.stringify(value);
const at = (ns: string): string => dateTime(Number(BigInt(ns) / 1_000_000n), zone.value);

export function Pairs({ list }: { list: Attributes }) {
  if (list.length === 0) return <p class="dim">none</p>;
  return (
    <dl>
      {list.map(([key, value], index) => (
        <Fragment key={index}>
          <dt>{key}</dt>
          <dd>
            {text(value)}
            {typeof value === "string" && classify(value).kind === "id" && (
              <a
                class="look"
                href={`/id/${encodeURIComponent(text(value))}`}
                aria-label={`Look up ${text(value)}`}
                title="look this value up as an ID"
              >
                ⌕
              </a>
            )}
          </dd>
        </Fragment>
      ))}
    </dl>
  );
}

export function Details({ row, onClose }: { row: Row; onClose: () => void }) {
  return (
    <aside aria-label="Details">
      <button class="close" onClick={onClose} title="Esc">
        close
      </button>
      <Content row={row} />
    </aside>
  );
}

function Content({ row }: { row: Row }) {
  switch (row.kind) {
    case "span": {
      const { span } = row;
      const length = Number(BigInt(span.endNs) - BigInt(span.startNs));
      return (
        <>
          <h2>
            {span.service} · {span.name}
          </h2>
          <span class="dim">
            span <a href={`/id/${span.spanId}`}>{span.spanId}</a> · {span.kind} · {duration(length)}
            , {duration(Number(span.selfNs))} its own
            {span.critical ? " · on the critical path" : ""}
          </span>
          <p class="dim mono">{at(span.startNs)}</p>
          {span.status !== "unset" && (
            <p class={span.status === "error" ? "E" : ""}>
              {span.status}
              {span.statusMessage && `: ${span.statusMessage}`}
            </p>
          )}
          <Pairs list={span.attributes} />
          {span.events.length > 0 && <h3>Events</h3>}
          {span.events.map((event) => (
            <div key={event.timeNs + event.name}>
              <span class="mono dim">
                +{duration(Number(BigInt(event.timeNs) - BigInt(span.startNs)))}
              </span>{" "}
              {event.name}
              {event.attributes.length > 0 && <Pairs list={event.attributes} />}
            </div>
          ))}
          {span.links.length > 0 && <h3>Links</h3>}
          {span.links.map((link) => (
            <div key={link.spanId}>
              <a class="mono" href={`/id/${link.traceId}`}>
                {link.traceId}
              </a>
            </div>
          ))}
          <h3>Resource</h3>
          <Pairs list={span.resource} />
          <h3>Find</h3>
          <div class="links">
            <a href={near(span.service, span.startNs)}>logs of {span.service}, ± 1 min</a>
            <button class="plain" onClick={() => copy(JSON.stringify(span, null, 2), "span")}>
              copy as JSON
            </button>
          </div>
        </>
      );
    }
    case "log": {
      const { log } = row;
      return (
        <>
          <h2>
            <span class={severity(log.severity)}>{log.severity || "log"}</span> · {log.service}
          </h2>
          <p class="dim mono">{at(log.timeNs)}</p>
          <pre class="wrap">{log.line}</pre>
          <Pairs list={log.attributes} />
          <h3>Resource</h3>
          <Pairs list={log.resource} />
          <h3>Find</h3>
          <div class="links">
            {log.traceId && <a href={`/id/${log.traceId}`}>its trace</a>}
            <a href={near(log.service, log.timeNs)}>lines of {log.service}, ± 1 min</a>
            <button class="plain" onClick={() => copy(log.line, "line")}>
              copy the line
            </button>
          </div>
        </>
      );
    }
    case "folded":
      return (
        <>
          <h2>
            {row.spans.length} × {row.spans[0]?.service} · {row.spans[0]?.name}
          </h2>
          <p class="dim">
            Alike calls one after the other, folded. Press Enter on the row to unfold.
          </p>
          <Pairs list={row.spans[0]?.attributes ?? []} />
        </>
      );
    default:
      return (
        <>
          <h2>A span that never arrived</h2>
          <p>{row.missing.text}</p>
          <p class="dim">
            Spans below name it as their parent. It may still be running, its export may have
            failed, or it was sampled away. <a href="/ingest">What was refused, and why</a>
          </p>
          <dl>
            <dt>span</dt>
            <dd>{row.missing.spanId}</dd>
            <dt>trace</dt>
            <dd>{row.missing.traceId}</dd>
          </dl>
        </>
      );
  }
}

function near(service: string, ns: string): string {
  const ms = Number(BigInt(ns) / 1_000_000n);
  const query = `{service_name=${JSON.stringify(service)}}`;
  const params = new URLSearchParams({
    q: query,
    from: String(ms - 60_000),
    to: String(ms + 60_000),
  });
  return `/logs?${params.toString()}`;
}
