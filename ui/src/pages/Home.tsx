// The first page: how to send data, coming alive when the first bytes arrive.

import { useEffect, useState } from "preact/hooks";

import { type IngestState, ingestState, status, type Status } from "../api/ingest";
import { count, plural } from "../lib/number";
import { ago, clock } from "../lib/time";
import { copy } from "../parts/copy";
import { zone } from "../parts/settings";

const POLL_MS = 1000;

/** What has arrived, asked for again every second while the page is seen. */
export function useIngest(): IngestState | null {
  const [state, setState] = useState<IngestState | null>(null);
  useEffect(() => {
    const abort = new AbortController();
    const ask = (): void => {
      if (document.hidden) return;
      ingestState(abort.signal).then(setState, () => undefined); // The next second asks again.
    };
    ask();
    const timer = window.setInterval(ask, POLL_MS);
    return () => {
      window.clearInterval(timer);
      abort.abort();
    };
  }, []);
  return state;
}

const msOf = (ns: string): number => Number(BigInt(ns) / 1_000_000n);

export function Home() {
  const state = useIngest();
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
          press <kbd>/</kbd> and paste a trace, span, request or correlation ID, or type words,
          PromQL or LogQL
        </span>
      </div>
      <div class={`verdict ${any ? "ok" : ""}`} role="status">
        <b>{any ? "Receiving" : "Waiting for the first bytes"}</b>
        {state?.signals.map((signal) => (
          <span key={signal.signal}>
            <i class={`dot ${signal.records > 0 ? "on" : ""}`} />
            {signal.signal}: {count(signal.records)} records
            {signal.lastNs !== "0" && `, last ${ago(msOf(state.nowNs) - msOf(signal.lastNs))}`}
          </span>
        ))}
        {!any && <span>this page comes alive by itself</span>}
      </div>
      {state && any && <Services state={state} />}
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

function Services({ state }: { state: IngestState }) {
  return (
    <div class="strip">
      {state.services.slice(0, 12).map((service) => (
        <a
          class="tile"
          key={service.service + service.signal}
          href={`/logs?q=${encodeURIComponent(`{service_name=${JSON.stringify(service.service)}}`)}`}
        >
          <div class="v">{service.service || "unnamed"}</div>
          <div class="k">
            {service.signal} {ago(msOf(state.nowNs) - msOf(service.lastNs))}
          </div>
        </a>
      ))}
    </div>
  );
}

function Send({ server }: { server: Status | null }) {
  const http = server?.otlpHttp ?? "127.0.0.1:4318";
  const grpc = server?.otlpGrpc ?? "127.0.0.1:4317";
  const page = server?.http ?? window.location.host;
  const ways: [string, string, string][] = [
    [
      "Any OpenTelemetry SDK",
      "environment of your program",
      `export OTEL_EXPORTER_OTLP_ENDPOINT=http://${http}`,
    ],
    [
      "Python, no code changed",
      "shell",
      `pip install opentelemetry-distro opentelemetry-exporter-otlp\nOTEL_EXPORTER_OTLP_ENDPOINT=http://${grpc} OTEL_LOGS_EXPORTER=otlp \\\n  opentelemetry-instrument python app.py`,
    ],
    ["Nothing at hand?", "shell", `tercet demo --to http://${http}`],
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
            <b>{name}</b> <span class="dim">· {where}</span>
            <pre>{text}</pre>
            <button onClick={() => copy(text, name)}>copy</button>
          </div>
        ))}
      </div>
      <h2 style={{ marginTop: "18px" }}>See it in Grafana</h2>
      <p class="dim">
        Data source addresses: Prometheus <code>http://{page}/ds/prometheus</code>, Loki{" "}
        <code>http://{page}/ds/loki</code>, Tempo <code>http://{page}/ds/tempo</code>, Jaeger{" "}
        <code>http://{page}/ds/jaeger</code>
      </p>
    </>
  );
}
