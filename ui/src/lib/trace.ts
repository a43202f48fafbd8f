// One line about a trace.

import type { JaegerTrace } from "../api/traces";

export interface Summary {
  traceId: string;
  service: string;
  name: string;
  startMs: number;
  durationNs: number;
  spans: number;
  services: number;
  errors: number;
}

/** Newest first. */
export function summariesOf(traces: JaegerTrace[]): Summary[] {
  return traces
    .filter((trace) => trace.spans.length > 0)
    .map(summaryOf)
    .sort((a, b) => b.startMs - a.startMs);
}

function summaryOf({ traceID, spans, processes }: JaegerTrace): Summary {
  const first = spans.reduce((a, b) => (b.startTime < a.startTime ? b : a));
  const root = spans.find((span) => span.references.length === 0) ?? first;
  const end = spans.reduce((most, span) => Math.max(most, span.startTime + span.duration), 0);
  const failed = spans.filter((span) =>
    span.tags.some(({ key, value }) => key === "error" && (value === true || value === "true")),
  );
  return {
    traceId: traceID,
    service: processes[root.processID]?.serviceName ?? "",
    name: root.operationName,
    startMs: first.startTime / 1000,
    durationNs: (end - first.startTime) * 1000,
    spans: spans.length,
    services: new Set(spans.map((span) => processes[span.processID]?.serviceName)).size,
    errors: failed.length,
  };
}
