// Names of series, what one asks of a metric first, and its line in a small box.

/** `name{label="value"}` */
export function nameOf(metric: Record<string, string>): string {
  const { __name__: name = "", ...labels } = metric;
  const inside = Object.entries(labels).map(([key, text]) => `${key}=${JSON.stringify(text)}`);
  return inside.length === 0 ? name || "{}" : `${name}{${inside.join(", ")}}`;
}

/** What one would ask of a metric first, by its name; of the series with these labels only. */
export function firstLook(name: string, labels: Record<string, string> = {}): string {
  const pairs = Object.entries(labels)
    .filter(([key]) => !["__name__", "le", "quantile"].includes(key))
    .map(([key, text]) => `${key}=${JSON.stringify(text)}`);
  const plain = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/.test(name);
  const inside = (plain ? pairs : [JSON.stringify(name), ...pairs]).join(", ");
  const selector = `${plain ? name : ""}${inside === "" ? "" : `{${inside}}`}`;
  if (name.endsWith("_bucket")) {
    return `histogram_quantile(0.99, sum by (le) (rate(${selector}[5m])))`;
  }
  return /_(total|count|sum)$/.test(name) ? `rate(${selector}[5m])` : selector;
}

/** The line of values in a box of 100 by 30. */
export function pathOf(values: [number, string][], range: { from: number; to: number }): string {
  const points = values
    .map(([seconds, text]) => [seconds * 1000, Number(text)] as const)
    .filter(([, number]) => Number.isFinite(number));
  const max = points.reduce((most, [, number]) => Math.max(most, number), 0);
  const min = points.reduce((least, [, number]) => Math.min(least, number), 0);
  return points
    .map(([time, number], index) => {
      const x = (100 * (time - range.from)) / (range.to - range.from);
      const y = 28 - (26 * (number - min)) / (max - min || 1);
      return `${index === 0 ? "M" : "L"}${x.toFixed(1)} ${y.toFixed(1)}`;
    })
    .join("");
}
