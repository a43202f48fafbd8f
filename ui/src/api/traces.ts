// The Jaeger dialect: services, and the traces of one.

import { getJson } from "./client";

export interface JaegerTrace {
  traceID: string;
  spans: {
    spanID: string;
    operationName: string;
    references: { refType: string; spanID: string }[];
    /** Units: us. */
    startTime: number;
    /** Units: us. */
    duration: number;
    processID: string;
    tags: { key: string; value: unknown }[];
  }[];
  processes: Record<string, { serviceName: string }>;
}

export async function services(abort: AbortSignal): Promise<string[]> {
  const answer = await getJson<{ data: string[] | null }>("/api/services", {}, abort);
  return answer.data ?? [];
}

export interface Wanted {
  service: string;
  /** Units: ms. */
  from: number;
  to: number;
  /** `100ms`; empty for all. */
  longerThan: string;
  errorsOnly: boolean;
  limit: number;
}

export async function findTraces(wanted: Wanted, abort: AbortSignal): Promise<JaegerTrace[]> {
  const answer = await getJson<{ data: JaegerTrace[] | null }>(
    "/api/traces",
    {
      service: wanted.service,
      start: Math.round(wanted.from) * 1000,
      end: Math.round(wanted.to) * 1000,
      limit: wanted.limit,
      minDuration: wanted.longerThan === "" ? undefined : wanted.longerThan,
      tags: wanted.errorsOnly ? '{"error":"true"}' : undefined,
    },
    abort,
  );
  return answer.data ?? [];
}
