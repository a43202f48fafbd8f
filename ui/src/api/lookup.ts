// GET /tercet/api/v1/lookup/{id}: everything that carries an ID, in all three signals.

import { getJson } from "./client";

/** Keys and values in sending order. */
export type Attributes = [string, unknown][];

export interface Span {
  traceId: string;
  spanId: string;
  /** Empty for a root. */
  parentSpanId: string;
  service: string;
  name: string;
  kind: string;
  status: "unset" | "ok" | "error";
  statusMessage: string;
  startNs: string;
  endNs: string;
  /** Time in no child. Units: ns. */
  selfNs: string;
  critical: boolean;
  attributes: Attributes;
  resource: Attributes;
  scope: { name: string; version: string };
  events: { timeNs: string; name: string; attributes: Attributes }[];
  links: { traceId: string; spanId: string; attributes: Attributes }[];
}

export interface LogRecord {
  timeNs: string;
  service: string;
  severity: string;
  line: string;
  traceId: string;
  spanId: string;
  attributes: Attributes;
  resource: Attributes;
}

export interface ExemplarHit {
  series: Record<string, string>;
  labels: Record<string, string>;
  timeMs: number;
  value: number;
}

export interface Missing {
  kind: "parent" | "unread" | "truncated";
  text: string;
  traceId?: string;
  /** The span that never arrived. */
  spanId?: string;
  children?: number;
}

export interface Lookup {
  id: string;
  tookMs: number;
  summary: {
    spans: number;
    logs: number;
    exemplars: number;
    services: string[];
    traces: string[];
    startNs: string;
    endNs: string;
    errors: number;
  };
  verdict: { complete: boolean; text: string; missing: Missing[] };
  /** In tree order: each span after its parent, siblings by start. */
  spans: Span[];
  /** In time order. */
  logs: LogRecord[];
  exemplars: ExemplarHit[];
  notices: { warnings: string[]; unread: { name: string; why: string }[] };
}

export function lookup(id: string, abort: AbortSignal): Promise<Lookup> {
  return getJson<Lookup>(`/tercet/api/v1/lookup/${encodeURIComponent(id)}`, {}, abort);
}
