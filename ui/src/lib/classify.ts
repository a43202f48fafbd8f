// Says what somebody typed or pasted into the one search box.

export type Understood =
  | { kind: "empty" }
  | { kind: "id"; id: string }
  | { kind: "logs"; query: string; words: boolean }
  | { kind: "metrics"; query: string };

const ID = /^[A-Za-z0-9][A-Za-z0-9._:~-]{3,199}$/;
const HEX = /^(0x)?[0-9a-f]{8,32}$/i;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const TRACEPARENT = /^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}$/i;
const METRIC = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const LOG_PIPE =
  /\}\s*(\|[=~>]|!=|!~|!>|\|\s*(json|logfmt|pattern|regexp|unpack|line_format|label_format|drop|keep|decolorize|unwrap)\b)/;
const LOG_RANGE = /\b(count_over_time|bytes_over_time|bytes_rate|rate)\s*\(\s*\{/;
const SELECTOR = /^\{[^}]*\}$/;
const CALL = /^[a-z_]+\s*(by|without)?\s*\(/i;

/**
 * What `text` is: an ID, a LogQL query, a PromQL query, or plain words to be found in log lines.
 * `isMetric` knows the names of metrics, for a single bare word.
 */
export function classify(
  text: string,
  isMetric: (name: string) => boolean = () => false,
): Understood {
  const query = text.trim();
  if (query === "") return { kind: "empty" };
  const parent = TRACEPARENT.exec(query);
  if (parent?.[1]) return { kind: "id", id: parent[1].toLowerCase() };
  if (UUID.test(query) || HEX.test(query)) return { kind: "id", id: query };
  if (LOG_PIPE.test(query) || LOG_RANGE.test(query)) return { kind: "logs", query, words: false };
  if (SELECTOR.test(query)) {
    return query.includes("__name__")
      ? { kind: "metrics", query }
      : { kind: "logs", query, words: false };
  }
  if (METRIC.test(query) && isMetric(query)) return { kind: "metrics", query };
  if (CALL.test(query) || /^[a-zA-Z_:][a-zA-Z0-9_:]*\s*[{[]/.test(query)) {
    return { kind: "metrics", query };
  }
  if (/^[-+(]?[\d.]/.test(query) && /[-+*/%^]/.test(query) && !/[a-z]{3}/i.test(query)) {
    return { kind: "metrics", query };
  }
  if (/\s[-+*/%^]\s|\s(and|or|unless)\s.*[{(]/.test(query) && /[{(]/.test(query)) {
    return { kind: "metrics", query };
  }
  if (/\d/.test(query) && ID.test(query)) return { kind: "id", id: query };
  return { kind: "logs", query: wordsToLogQl(query), words: true };
}

/** A LogQL query that finds lines holding every word; text in quotes counts as one word. */
export function wordsToLogQl(words: string): string {
  const parts = [...words.matchAll(/"([^"]+)"|(\S+)/g)].map((match) => match[1] ?? match[2] ?? "");
  return `{service_name=~".+"}${parts.map((part) => ` |= ${JSON.stringify(part)}`).join("")}`;
}
