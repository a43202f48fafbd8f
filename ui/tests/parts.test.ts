import { describe, expect, it } from "vitest";

import { coloursOf, severity } from "../src/lib/colour";
import { keysOf } from "../src/lib/line";
import { firstLook, nameOf, pathOf } from "../src/lib/metric";
import { bytes, measured, plural, value } from "../src/lib/number";
import { address, decoded } from "../src/lib/route";
import { summariesOf } from "../src/lib/trace";

describe("numbers", () => {
  it("carry units", () => {
    expect(bytes(0)).toBe("0 B");
    expect(bytes(1536)).toBe("1.5 KiB");
    expect(value(1234567)).toBe("1.235M");
    expect(value(0.00012344)).toBe("0.0001234");
    expect(measured("http_server_duration_seconds_bucket", 1.281)).toBe("1.28 s");
    expect(measured("process_memory_bytes", 2048)).toBe("2.0 KiB");
    expect(measured("up", 1)).toBe("1");
    expect(plural(1, "span")).toBe("1 span");
    expect(plural(2048, "span")).toBe("2,048 spans");
  });
});

describe("colours", () => {
  it("are stable by name", () => {
    expect(coloursOf(["b", "a"]).get("a")).toBe("var(--s1)");
    const many = coloursOf(["a", "b", "c", "d", "e", "zeta"]);
    expect(many.get("zeta")).toMatch(/^hsl\(/);
    expect(coloursOf(["a", "b", "c", "d", "e", "f", "zeta"]).get("zeta")).toBe(many.get("zeta"));
  });

  it("know severities", () => {
    expect(["ERROR", "fatal", "warning", "INFO", "debug", ""].map(severity)).toEqual([
      "E",
      "E",
      "W",
      "I",
      "D",
      "D",
    ]);
  });
});

describe("addresses", () => {
  it("hold the whole state", () => {
    const params = new URLSearchParams("q=up&from=now-1h");
    expect(address("/metrics", params, { from: null, to: "5" })).toBe("/metrics?q=up&to=5");
    expect(address("/", new URLSearchParams(), {})).toBe("/");
  });

  it("may be typed by hand", () => {
    expect(decoded("a%20b")).toBe("a b");
    expect(decoded("50%")).toBe("50%");
  });

  it("tell lines of the same time apart", () => {
    const line = (timeNs: string) => ({ timeNs, line: "", labels: {}, fields: {} });
    expect(keysOf([line("2"), line("2"), line("1")])).toEqual(["2", "2.1", "1"]);
  });
});

describe("metrics", () => {
  it("are first looked at by what their names say", () => {
    const labels = { __name__: "x", le: "1", job: "a" };
    expect(firstLook("req_seconds_bucket", labels)).toBe(
      'histogram_quantile(0.99, sum by (le) (rate(req_seconds_bucket{job="a"}[5m])))',
    );
    expect(firstLook("req_total")).toBe("rate(req_total[5m])");
    expect(firstLook("temperature")).toBe("temperature");
    expect(firstLook("a.b", { job: "x" })).toBe('{"a.b", job="x"}');
  });

  it("have names as PromQL writes them", () => {
    expect(nameOf({ __name__: "up", job: "a" })).toBe('up{job="a"}');
    expect(nameOf({})).toBe("{}");
  });

  it("make a line in a small box, without what is no number", () => {
    const values: [number, string][] = [
      [0, "0"],
      [1, "NaN"],
      [2, "10"],
    ];
    expect(pathOf(values, { from: 0, to: 2000 })).toBe("M0.0 28.0L100.0 2.0");
  });
});

describe("a trace in a list", () => {
  it("is its root, its length and its errors, newest first", () => {
    const span = (spanID: string, startTime: number, parent: string, error: unknown) => ({
      spanID,
      operationName: spanID,
      references: parent === "" ? [] : [{ refType: "CHILD_OF", spanID: parent }],
      startTime,
      duration: 100,
      processID: "p1",
      tags: [{ key: "error", value: error }],
    });
    const processes = { p1: { serviceName: "web" } };
    const old = { traceID: "old", spans: [span("x", 1000, "", false)], processes };
    const spans = [span("child", 2050, "root", true), span("root", 2000, "", "true")];
    expect(summariesOf([old, { traceID: "new", spans, processes }])).toMatchObject([
      { traceId: "new", name: "root", service: "web", startMs: 2, durationNs: 150_000, errors: 2 },
      { traceId: "old", errors: 0 },
    ]);
  });
});
