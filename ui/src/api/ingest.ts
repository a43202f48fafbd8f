// GET /tercet/api/v1/ingest: what has arrived, and what was refused and why.

import { getJson } from "./client";

export interface SignalState {
  signal: "metrics" | "logs" | "traces";
  records: number;
  bytes: number;
  requests: number;
  /** `0` where nothing has arrived yet. */
  lastNs: string;
}

export interface ServiceState {
  service: string;
  signal: string;
  lastNs: string;
}

export interface Discarded {
  tenant: string;
  signal: string;
  reason: string;
  records: number;
}

export interface Problem {
  timeNs: string;
  signal: string;
  /** Failure class or reason. */
  kind: string;
  tenant: string;
  /** Refused; 0 when the whole request was. */
  records: number;
  message: string;
}

export interface IngestState {
  nowNs: string;
  signals: SignalState[];
  services: ServiceState[];
  discarded: Discarded[];
  /** Newest first. */
  problems: Problem[];
}

export interface Status {
  version: string;
  http: string;
  otlpHttp: string;
  otlpGrpc: string;
  ready: boolean;
  /** What an operator has to decide. */
  notices: string[];
}

export function ingestState(abort: AbortSignal): Promise<IngestState> {
  return getJson<IngestState>("/tercet/api/v1/ingest", {}, abort);
}

export function status(abort: AbortSignal): Promise<Status> {
  return getJson<Status>("/tercet/api/v1/status", {}, abort);
}
