// The Loki dialect.

import { getJson } from "./client";

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

interface Matrix {
  metric: Record<string, string>;
  values: [number, string][];
}

interface Answer<T> {
  data: { resultType: string; result: T[] };
  warnings?: string[];
}

export interface LogsAnswer {
  lines: LogLine[];
  notices: string[];
}

export async function queryLogs(
  query: string,
  range: { from: number; to: number },
  limit: number,
  abort: AbortSignal,
): Promise<LogsAnswer> {
  const answer = await getJson<Answer<Stream>>(
    "/loki/api/v1/query_range",
    { query, start: `${range.from}000000`, end: `${range.to}000000`, limit, direction: "backward" },
    abort,
    { "X-Loki-Response-Encoding-Flags": "categorize-labels" },
  );
  if (answer.data.resultType !== "streams") {
    return { lines: [], notices: ["this query makes numbers, not lines: see its graph"] };
  }
  const lines = answer.data.result.flatMap((stream) =>
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
  return { lines, notices: answer.warnings ?? [] };
}

export async function queryMatrix(
  query: string,
  range: { from: number; to: number },
  stepMs: number,
  abort: AbortSignal,
): Promise<Matrix[]> {
  const answer = await getJson<Answer<Matrix>>(
    "/loki/api/v1/query_range",
    { query, start: `${range.from}000000`, end: `${range.to}000000`, step: `${stepMs}ms` },
    abort,
  );
  return answer.data.resultType === "matrix" ? answer.data.result : [];
}
