import { describe, expect, it } from "vitest";

import { coloursOf, severity } from "../src/lib/colour";
import { bytes, plural, value } from "../src/lib/number";
import { address } from "../src/lib/route";

describe("numbers", () => {
  it("carry units", () => {
    expect(bytes(0)).toBe("0 B");
    expect(bytes(1536)).toBe("1.5 KiB");
    expect(value(1234567)).toBe("1.235M");
    expect(value(0.00012344)).toBe("0.0001234");
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
});
