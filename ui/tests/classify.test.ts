import { describe, expect, it } from "vitest";

import { classify, wordsToLogQl } from "../src/lib/classify";

const metric = (name: string): boolean => name === "up";
const kind = (text: string): string => classify(text, metric).kind;

describe("the one search box", () => {
  it("knows an ID in every form that people paste", () => {
    for (const id of [
      "4bf92f3577b34da6a3ce929d0e0e4736",
      "00f067aa0ba902b7",
      "123e4567-e89b-12d3-a456-426614174000",
      "ord-7f3a11c2",
      " 4BF92F3577B34DA6A3CE929D0E0E4736 ",
      "claim:12345",
    ]) {
      expect(kind(id), id).toBe("id");
    }
  });

  it("takes the trace ID out of a traceparent header", () => {
    expect(classify("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")).toEqual({
      kind: "id",
      id: "4bf92f3577b34da6a3ce929d0e0e4736",
    });
  });

  it("tells PromQL from LogQL", () => {
    for (const query of [
      "up",
      "rate(http_requests_total[5m])",
      'http_requests_total{job="api"}',
      "sum by (job) (up)",
      "1 + 1",
      "a{x='1'} / b{x='1'}",
      '{__name__=~"node_.*"}',
    ]) {
      expect(kind(query), query).toBe("metrics");
    }
    for (const query of [
      '{app="web"}',
      '{app="web"} |= "error"',
      '{app="web"} | json | status >= 500',
      'sum(count_over_time({app="web"}[5m]))',
      '{app="web"} != "x"',
    ]) {
      expect(kind(query), query).toBe("logs");
    }
  });

  it("searches plain words in the lines", () => {
    expect(classify('timeout "card gateway"', metric)).toEqual({
      kind: "logs",
      query: '{service_name=~".+"} |= "timeout" |= "card gateway"',
      words: true,
    });
    expect(kind("timeout")).toBe("logs");
    expect(kind("")).toBe("empty");
  });

  it("escapes what was typed", () => {
    expect(wordsToLogQl("a\\b")).toBe('{service_name=~".+"} |= "a\\\\b"');
  });
});
