// The first page: how to send data, coming alive when the first bytes arrive.

import { Fragment } from "preact";
import { useEffect, useState } from "preact/hooks";

import { status, type Status } from "../api/ingest";
import { count, plural } from "../lib/number";
import { ago, clock } from "../lib/time";
import { copy } from "../parts/copy";
import { useIngest } from "../parts/ingest";
import { Services } from "../parts/Services";
import { zone } from "../parts/settings";
import { Silent } from "../parts/states";

const msOf = (ns: string): number => Number(BigInt(ns) / 1_000_000n);

export function Home() {
  const { state, error } = useIngest();
  const [server, setServer] = useState<Status | null>(null);
  useEffect(() => {
    const abort = new AbortController();
    status(abort.signal).then(setServer, () => undefined);
    return () => abort.abort();
  }, []);
  document.title = "Tercet";
  const any = state?.signals.some((signal) => signal.records > 0) ?? false;
  return (
    <>
      <div class="head">
        <h1>Paste an ID, see everything that happened</h1>
        <span class="sub">
          <span class="wide">
            press <kbd>/</kbd> and{" "}
          </span>
          paste a trace, span, request or correlation ID, or type words, PromQL or LogQL
        </span>
      </div>
      <Silent error={error} />
      <div class={`verdict ${any ? "ok" : ""}`}>
        <b role="status">
          {any ? "Receiving" : state ? "Waiting for the first bytes" : "Asking the server"}
        </b>
        {state?.signals.map((signal) => (
          <span key={signal.signal}>
            <i class={`dot ${signal.records > 0 ? "on" : ""}`} />
            {signal.signal}: {count(signal.records)} records
            {signal.lastNs !== "0" && `, last ${ago(msOf(state.nowNs) - msOf(signal.lastNs))}`}
          </span>
        ))}
        {state && !any && <span>this page comes alive by itself</span>}
      </div>
      {state && any && <Services state={state} most={12} />}
      {state && state.problems.length > 0 && (
        <div class="verdict bad">
          <b>{plural(state.problems.length, "recent problem")}</b>
          <span class="mono">
            {clock(msOf(state.problems[0]?.timeNs ?? "0"), zone.value)} {state.problems[0]?.message}
          </span>
          <a href="/ingest">what was dropped and why</a>
        </div>
      )}
      <Send server={server} />
    </>
  );
}

/** An address as whoever sees this page can reach it: not the one that means all of a machine's. */
function reachable(address: string): string {
  return address.replace(/^(0\.0\.0\.0|\[::\])(?=:)/, window.location.hostname);
}

function Send({ server }: { server: Status | null }) {
  const http = reachable(server?.otlpHttp ?? "127.0.0.1:4318");
  const grpc = reachable(server?.otlpGrpc ?? "127.0.0.1:4317");
  const page = window.location.host;
  const ways: [string, string, string][] = [
    ["Nothing at hand?", "a small shop's telemetry", `tercet demo --to http://${http}`],
    [
      "Any OpenTelemetry SDK",
      "environment",
      `export OTEL_EXPORTER_OTLP_ENDPOINT=http://${http}\nexport OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf`,
    ],
    [
      "Python, no code changed",
      "shell",
      `pip install opentelemetry-distro opentelemetry-exporter-otlp\nOTEL_EXPORTER_OTLP_ENDPOINT=http://${grpc} OTEL_LOGS_EXPORTER=otlp \\\n  opentelemetry-instrument python app.py`,
    ],
    ["Prometheus", "prometheus.yml", `remote_write:\n  - url: http://${page}/api/v1/write`],
    [
      "OpenTelemetry Collector",
      "config.yaml",
      `exporters:\n  otlp:\n    endpoint: ${grpc}\n    tls: { insecure: true }`,
    ],
    ["Promtail, Alloy, Fluent Bit", "Loki output", `url: http://${page}/loki/api/v1/push`],
  ];
  return (
    <>
      <h2>Send something</h2>
      <div class="cards">
        {ways.map(([name, where, text]) => (
          <div class="card" key={name}>
            <div class="card-head">
              <b>{name}</b> <span class="dim">{where}</span>
              <button aria-label={`Copy: ${name}`} onClick={() => copy(text, name)}>
                copy
              </button>
            </div>
            <pre tabIndex={0}>{text}</pre>
          </div>
        ))}
      </div>
      <h2>See it in Grafana</h2>
      <dl class="addresses">
        {["prometheus", "loki", "tempo", "jaeger"].map((source) => (
          <Fragment key={source}>
            <dt>{source}</dt>
            <dd>
              {window.location.origin}/ds/{source}
            </dd>
          </Fragment>
        ))}
      </dl>
    </>
  );
}
