import { describe, expect, it } from "vitest";

import type { LogRecord, Span } from "../src/api/lookup";
import { isError, rowsOf, storyOf, textOf, type View } from "../src/lib/story";

const span = (
  spanId: string,
  parentSpanId: string,
  start: number,
  extra: Partial<Span> = {},
): Span => ({
  traceId: "t",
  spanId,
  parentSpanId,
  service: "web",
  name: spanId,
  kind: "server",
  status: "unset",
  statusMessage: "",
  startNs: String(start),
  endNs: String(start + 100),
  selfNs: "0",
  critical: false,
  attributes: [],
  resource: [],
  scope: { name: "", version: "" },
  events: [],
  links: [],
  ...extra,
});

const log = (time: number, spanId: string, line: string): LogRecord => ({
  timeNs: String(time),
  service: "web",
  severity: "INFO",
  line,
  traceId: "t",
  spanId,
  attributes: [],
  resource: [],
});

const ALL: View = { closed: new Set(), unfolded: new Set(), logs: true, errorsOnly: false };
const complete = { complete: true, text: "", missing: [] };

const words = (rows: ReturnType<typeof rowsOf>): string[] =>
  rows.map((row) => {
    if (row.kind === "span") return `${"  ".repeat(row.depth)}${row.span.name}`;
    if (row.kind === "log") return `${"  ".repeat(row.depth)}"${row.log.line}"`;
    return row.kind === "folded"
      ? `${"  ".repeat(row.depth)}${row.spans.length} folded`
      : "missing";
  });

describe("the story", () => {
  it("puts log lines between the spans, in time order", () => {
    const story = storyOf({
      spans: [span("root", "", 0), span("b", "root", 50), span("a", "root", 10)],
      logs: [
        log(5, "root", "first"),
        log(30, "root", "between"),
        log(20, "a", "in a"),
        log(90, "x", "loose"),
      ],
      verdict: complete,
    });
    expect(words(rowsOf(story, ALL))).toEqual([
      "root",
      '  "first"',
      "  a",
      '    "in a"',
      '  "between"',
      "  b",
      '"loose"',
    ]);
  });

  it("folds alike calls, never those with an error or a line", () => {
    const calls = [1, 2, 3, 4, 5].map((n) => span(`q${n}`, "root", n * 10, { name: "SELECT" }));
    const story = storyOf({ spans: [span("root", "", 0), ...calls], logs: [], verdict: complete });
    expect(words(rowsOf(story, ALL))).toEqual(["root", "  5 folded"]);
    const unfolded = { ...ALL, unfolded: new Set(["fold/t/q1"]) };
    expect(words(rowsOf(story, unfolded))).toEqual(["root", ...calls.map(() => "  SELECT")]);
    const failing = calls.map((call, n) =>
      n === 2 ? { ...call, status: "error" as const } : call,
    );
    const seen = storyOf({ spans: [span("root", "", 0), ...failing], logs: [], verdict: complete });
    expect(words(rowsOf(seen, ALL))).toHaveLength(6);
  });

  it("keeps the ancestors of errors", () => {
    const story = storyOf({
      spans: [
        span("root", "", 0),
        span("fine", "root", 1),
        span("mid", "root", 2),
        span("bad", "mid", 3, { status: "error" }),
      ],
      logs: [],
      verdict: complete,
    });
    const rows = rowsOf(story, { ...ALL, errorsOnly: true });
    expect(words(rows)).toEqual(["root", "  mid", "    bad"]);
    expect(rows.map(isError)).toEqual([false, false, true]);
  });

  it("draws a parent that never arrived where it would be", () => {
    const story = storyOf({
      spans: [span("orphan", "gone", 10)],
      logs: [],
      verdict: {
        complete: false,
        text: "",
        missing: [{ kind: "parent", text: "1 span never arrived", traceId: "t", spanId: "gone" }],
      },
    });
    expect(words(rowsOf(story, ALL))).toEqual(["missing", "  orphan"]);
  });

  it("calls a log line the same whatever is closed above it", () => {
    const story = storyOf({
      spans: [span("root", "", 0), span("a", "root", 10)],
      logs: [log(20, "a", "in a"), log(90, "root", "twice"), log(90, "root", "twice")],
      verdict: complete,
    });
    const keys = (closed: string[]): string[] =>
      rowsOf(story, { ...ALL, closed: new Set(closed) })
        .filter((row) => row.kind === "log")
        .map((row) => row.key);
    expect(keys([])).toEqual(["log/20/a", "log/90/root", "log/90/root/1"]);
    expect(keys(["t/a"])).toEqual(["log/90/root", "log/90/root/1"]);
  });

  it("can be told as text", () => {
    const story = storyOf({
      spans: [span("root", "", 0), span("a", "root", 10, { status: "error", statusMessage: "no" })],
      logs: [log(20, "a", "said")],
      verdict: complete,
    });
    expect(textOf(rowsOf(story, ALL), String)).toBe(
      "0  web root  100 ns\n10    web a  100 ns  ERROR no\n20      INFO web said",
    );
  });

  it("survives a span that is its own parent", () => {
    const story = storyOf({ spans: [span("a", "a", 0)], logs: [], verdict: complete });
    expect(words(rowsOf(story, ALL))).toEqual(["a"]);
  });

  it("shows spans that are each other's parents", () => {
    const story = storyOf({
      spans: [span("root", "", 0), span("a", "b", 10), span("b", "a", 20)],
      logs: [],
      verdict: complete,
    });
    expect(words(rowsOf(story, ALL))).toEqual(["root", "a", "  b"]);
  });

  it("holds a chain of ten thousand spans", () => {
    const spans = Array.from({ length: 10_000 }, (_, n) =>
      span(`s${n}`, n === 0 ? "" : `s${n - 1}`, n, { status: n === 9_999 ? "error" : "unset" }),
    );
    const story = storyOf({ spans, logs: [], verdict: complete });
    expect(rowsOf(story, ALL)).toHaveLength(10_000);
    expect(rowsOf(story, { ...ALL, errorsOnly: true })).toHaveLength(10_000);
  });
});
