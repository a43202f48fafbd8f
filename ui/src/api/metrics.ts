// The Prometheus dialect.

import { getJson } from "./client";

export interface Series {
  metric: Record<string, string>;
  /** Seconds and text, as Prometheus sends them. */
  values: [number, string][];
}

interface Answer<T> {
  status: string;
  data: T;
  warnings?: string[];
  infos?: string[];
}

export interface RangeAnswer {
  series: Series[];
  notices: string[];
}

export async function queryRange(
  query: string,
  range: { from: number; to: number },
  stepMs: number,
  abort: AbortSignal,
): Promise<RangeAnswer> {
  const answer = await getJson<Answer<{ result: Series[] }>>(
    "/api/v1/query_range",
    { query, start: range.from / 1000, end: range.to / 1000, step: stepMs / 1000 },
    abort,
  );
  return {
    series: answer.data.result,
    notices: [...(answer.warnings ?? []), ...(answer.infos ?? [])],
  };
}

export async function metricNames(abort: AbortSignal): Promise<string[]> {
  const answer = await getJson<Answer<string[]>>(
    "/api/v1/label/__name__/values",
    { limit: 10_000 },
    abort,
  );
  return answer.data;
}
