import { expect, it } from "vitest";

import type { Limit } from "../src/api/limits";
import { inUse, nearlyMet, percent } from "../src/lib/limits";

function limit(name: string, share: number | null): Limit {
  return { name, value: "10", source: "default", usage: share === null ? null : 1, share };
}

it("limits in use are listed with the fullest first", () => {
  const limits = [limit("a", 0.1), limit("b", null), limit("c", 0.9)];
  expect(inUse(limits).map((one) => one.name)).toEqual(["c", "a"]);
});

it("from four fifths on a limit is told of", () => {
  const limits = [limit("a", 0.79), limit("b", 0.8), limit("c", 1.2)];
  expect(nearlyMet(limits).map((one) => one.name)).toEqual(["c", "b"]);
  expect(percent(0.8)).toBe("80 %");
});
