import { describe, expect, it } from "vitest";

import {
  ago,
  axisTime,
  dateTime,
  duration,
  parseInstant,
  parseRange,
  rangeOf,
  stepOf,
  ticksOf,
} from "../src/lib/time";

const NOW = Date.UTC(2026, 10, 20, 14, 0, 0);
const MIN = 60_000;

describe("ranges as people write them", () => {
  it.each([
    ["15m", NOW - 15 * MIN, NOW],
    ["2h ago to now", NOW - 120 * MIN, NOW],
    ["now-1h to now-30m", NOW - 60 * MIN, NOW - 30 * MIN],
    ["2026-11-20T13:00:00Z +- 5m", NOW - 65 * MIN, NOW - 55 * MIN],
    ["2026-11-20T12:00:00Z to 2026-11-20T13:00:00Z", NOW - 120 * MIN, NOW - 60 * MIN],
    ["1795182000", 1795182000_000 - 5 * MIN, 1795182000_000 + 5 * MIN],
  ])("%s", (text, from, to) => {
    expect(parseRange(text, NOW)).toEqual({ from, to });
  });

  it("says no to what it does not understand", () => {
    for (const text of ["", "soon", "5 minutes", "now to now-1h"]) {
      expect(parseRange(text, NOW), text).toSatisfy(
        (range: unknown) => range === null || text === "",
      );
    }
  });

  it("reads epochs of every length", () => {
    for (const text of ["1795182000", "1795182000000", "1795182000000000", "1795182000000000000"]) {
      expect(parseInstant(text, NOW), text).toBe(1795182000_000);
    }
  });

  it("falls back to the last hour", () => {
    expect(rangeOf(new URLSearchParams("from=x&to=y"), NOW)).toEqual({
      from: NOW - 60 * MIN,
      to: NOW,
    });
  });

  it("chooses round steps", () => {
    expect(stepOf({ from: 0, to: 3_600_000 }, 120)).toBe(30_000);
    expect(stepOf({ from: 0, to: 60_000 }, 300)).toBe(1000);
  });
});

describe("a time line", () => {
  it("has round ticks, few enough and inside", () => {
    expect(ticksOf(0, 1.84e9, 4)).toEqual([0, 0.5e9, 1e9, 1.5e9]);
    expect(ticksOf(0, 1.28e9, 5)).toEqual([0, 0.5e9, 1e9]);
    expect(ticksOf(130, 190, 4)).toEqual([140, 160, 180]);
    expect(ticksOf(0, 1, 4)).toEqual([0]);
  });
});

describe("a time axis", () => {
  it("says as much as tells its labels apart", () => {
    expect(axisTime(NOW, 5000, "UTC")).toBe("14:00:00");
    expect(axisTime(NOW, 5 * MIN, "UTC")).toBe("14:00");
    expect(axisTime(NOW + 600 * MIN, 360 * MIN, "UTC")).toBe("11-21");
    expect(axisTime(NOW, 86_400_000, "UTC")).toBe("11-20");
  });
});

describe("times as people read them", () => {
  it.each([
    [1.84e9, "1.84 s"],
    [391e6, "391 ms"],
    [12_000, "12 µs"],
    [500, "500 ns"],
    [0, "0 ns"],
    [90e9, "1.5 min"],
  ])("%d ns", (ns, text) => {
    expect(duration(ns)).toBe(text);
  });

  it("always names the zone", () => {
    expect(dateTime(NOW, "UTC")).toBe("2026-11-20 14:00:00.000 UTC");
    expect(dateTime(NOW, "local")).toMatch(/UTC([+-]\d\d:\d\d)?$/);
  });

  it("says how long ago", () => {
    expect(ago(400)).toBe("just now");
    expect(ago(4300)).toBe("4 s ago");
  });
});
