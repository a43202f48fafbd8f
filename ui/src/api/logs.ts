// The Loki dialect.

import { getJson } from "./client";
import type { Series } from "./metrics";

export interface LogLine {
  timeNs: string;
  line: string;
  /** Labels of the stream. */
  labels: Record<string, string>;
  /** Structured metadata and parsed labels. */
  fields: Record<string, string>;
}

interface Stream {
  stream: Record<string, string>;
  values: [
    string,
    string,
    { structuredMetadata?: Record<string, string>; parsed?: Record<string, string> },
  ][];
}

interface Answer<T> {
  data: { resultType: string; result: T[] };
  warnings?: string[];
}

/** Milliseconds as nanoseconds, in digits. */
const ns = (ms: number): string => `${Math.round(ms)}000000`;

export interface LogsAnswer {
  /** Newest first. */
  lines: LogLine[];
  /** Of a query that makes numbers. */
  series: Series[];
  notices: string[];
}

export async function queryLogs(
  query: string,
  range: { from: number; to: number },
  wanted: { limit: number; stepMs: number },
  abort: AbortSignal,
): Promise<LogsAnswer> {
  const answer = await getJson<Answer<Stream | Series>>(
    "/loki/api/v1/query_range",
    {
      query,
      start: ns(range.from),
      end: ns(range.to),
      limit: wanted.limit,
      step: `${wanted.stepMs}ms`,
      direction: "backward",
    },
    abort,
    { "X-Loki-Response-Encoding-Flags": "categorize-labels" },
  );
  const notices = answer.warnings ?? [];
  if (answer.data.resultType !== "streams") {
    return { lines: [], series: answer.data.result as Series[], notices };
  }
  const lines = (answer.data.result as Stream[]).flatMap((stream) =>
    stream.values.map(([timeNs, line, extra]) => ({
      timeNs,
      line,
      labels: stream.stream,
      fields: { ...extra?.structuredMetadata, ...extra?.parsed },
    })),
  );
  lines.sort((a, b) =>
    a.timeNs.length === b.timeNs.length
      ? a.timeNs < b.timeNs
        ? 1
        : a.timeNs > b.timeNs
          ? -1
          : 0
      : b.timeNs.length - a.timeNs.length,
  );
  return { lines, series: [], notices };
}

export async function queryMatrix(
  query: string,
  range: { from: number; to: number },
  stepMs: number,
  abort: AbortSignal,
): Promise<Series[]> {
  const answer = await getJson<Answer<Series>>(
    "/loki/api/v1/query_range",
    { query, start: ns(range.from), end: ns(range.to), step: `${stepMs}ms` },
    abort,
  );
  return answer.data.resultType === "matrix" ? answer.data.result : [];
}
