// The story of an ID: spans and log lines as rows of one list, in tree and time order.

import type { LogRecord, Lookup, Missing, Span } from "../api/lookup";

export type Row =
  | { kind: "span"; key: string; span: Span; depth: number; children: number; open: boolean }
  | { kind: "log"; key: string; log: LogRecord; depth: number }
  | { kind: "folded"; key: string; spans: Span[]; depth: number; startNs: bigint; endNs: bigint }
  | {
      kind: "missing";
      key: string;
      missing: Missing;
      depth: number;
      startNs: bigint;
      endNs: bigint;
    };

export interface Node {
  span: Span;
  startNs: bigint;
  endNs: bigint;
  children: Node[];
  logs: LogRecord[];
}

export interface Story {
  roots: Node[];
  /** Log records of no span that was found. */
  looseLogs: LogRecord[];
  missing: Missing[];
  startNs: bigint;
  endNs: bigint;
}

/** So many alike leaf siblings in a row become one row. */
const FOLD_MIN = 4;

const compare = (a: bigint, b: bigint): number => (a < b ? -1 : a > b ? 1 : 0);

/** Builds the tree. Spans whose parent is absent are roots. */
export function storyOf(found: Pick<Lookup, "spans" | "logs" | "verdict">): Story {
  const nodes = new Map<string, Node>();
  const id = (trace: string, span: string): string => `${trace}/${span}`;
  for (const span of found.spans) {
    nodes.set(id(span.traceId, span.spanId), {
      span,
      startNs: BigInt(span.startNs),
      endNs: BigInt(span.endNs),
      children: [],
      logs: [],
    });
  }
  const roots: Node[] = [];
  for (const node of nodes.values()) {
    const parent = nodes.get(id(node.span.traceId, node.span.parentSpanId));
    if (parent && parent !== node && node.span.parentSpanId !== "") parent.children.push(node);
    else roots.push(node);
  }
  const looseLogs: LogRecord[] = [];
  for (const log of found.logs) {
    const node = nodes.get(id(log.traceId, log.spanId));
    if (node) node.logs.push(log);
    else looseLogs.push(log);
  }
  const byStart = (a: Node, b: Node): number => compare(a.startNs, b.startNs);
  roots.sort(byStart);
  for (const node of nodes.values()) node.children.sort(byStart);
  const starts = [...nodes.values()].map((node) => node.startNs);
  const ends = [...nodes.values()].map((node) => node.endNs);
  const logTimes = found.logs.map((log) => BigInt(log.timeNs));
  const min = (list: bigint[]): bigint | undefined =>
    list.reduce<bigint | undefined>((m, t) => (m === undefined || t < m ? t : m), undefined);
  const max = (list: bigint[]): bigint | undefined =>
    list.reduce<bigint | undefined>((m, t) => (m === undefined || t > m ? t : m), undefined);
  const startNs = min([...starts, ...logTimes]) ?? 0n;
  const endNs = max([...ends, ...logTimes]) ?? startNs;
  return {
    roots,
    looseLogs,
    missing: found.verdict.missing,
    startNs,
    endNs: endNs > startNs ? endNs : startNs + 1n,
  };
}

export interface View {
  closed: ReadonlySet<string>;
  unfolded: ReadonlySet<string>;
  logs: boolean;
  errorsOnly: boolean;
}

/** The rows of a story as it is being looked at. */
export function rowsOf(story: Story, view: View): Row[] {
  const rows: Row[] = [];
  const wanted = view.errorsOnly ? withErrors(story.roots) : null;
  const missingBy = new Map(
    story.missing
      .filter((missing) => missing.kind === "parent")
      .map((missing) => [`${missing.traceId}/${missing.spanId}`, missing]),
  );

  const emitLog = (log: LogRecord, depth: number): void => {
    rows.push({ kind: "log", key: `log/${log.timeNs}/${log.spanId}/${rows.length}`, log, depth });
  };

  const emit = (node: Node, depth: number): void => {
    if (wanted && !wanted.has(node)) return;
    const key = `${node.span.traceId}/${node.span.spanId}`;
    const open = !view.closed.has(key);
    const children = node.children.length;
    rows.push({ kind: "span", key, span: node.span, depth, children, open });
    if (!open) return;
    emitInside(node.children, view.logs ? node.logs : [], depth + 1);
  };

  const emitInside = (children: Node[], logs: LogRecord[], depth: number): void => {
    let nextLog = 0;
    const emitLogsBefore = (time: bigint): void => {
      for (;;) {
        const log = logs[nextLog];
        if (log === undefined || BigInt(log.timeNs) >= time) return;
        emitLog(log, depth);
        nextLog += 1;
      }
    };
    for (let index = 0; index < children.length;) {
      const child = children[index] as Node;
      emitLogsBefore(child.startNs);
      const alike = alikeFrom(children, index);
      const key = `fold/${child.span.traceId}/${child.span.spanId}`;
      if (alike >= FOLD_MIN && !view.unfolded.has(key) && !wanted) {
        const run = children.slice(index, index + alike);
        rows.push({
          kind: "folded",
          key,
          spans: run.map((node) => node.span),
          depth,
          startNs: child.startNs,
          endNs: run.reduce((end, node) => (node.endNs > end ? node.endNs : end), child.endNs),
        });
        index += alike;
      } else {
        emit(child, depth);
        index += 1;
      }
    }
    emitLogsBefore((1n << 63n) - 1n);
  };

  // Roots whose parent never arrived stand below the place where it would be.
  const top = story.roots.map((node) => ({ node, startNs: node.startNs }));
  const loose = view.logs && !wanted ? story.looseLogs : [];
  let nextLoose = 0;
  const emitLooseBefore = (time: bigint): void => {
    for (;;) {
      const log = loose[nextLoose];
      if (log === undefined || BigInt(log.timeNs) >= time) return;
      emitLog(log, 0);
      nextLoose += 1;
    }
  };
  const told = new Set<string>();
  for (const { node, startNs } of top) {
    emitLooseBefore(startNs);
    const parentKey = `${node.span.traceId}/${node.span.parentSpanId}`;
    const missing = node.span.parentSpanId === "" ? undefined : missingBy.get(parentKey);
    if (missing && !wanted && !told.has(parentKey)) {
      told.add(parentKey);
      rows.push({
        kind: "missing",
        key: `missing/${parentKey}`,
        missing,
        depth: 0,
        startNs: node.startNs,
        endNs: node.endNs,
      });
    }
    emit(node, missing ? 1 : 0);
  }
  emitLooseBefore((1n << 63n) - 1n);
  return rows;
}

/** How many siblings from `start` on are leaves of the same service and name, without errors or logs. */
function alikeFrom(children: Node[], start: number): number {
  const first = children[start] as Node;
  const plain = (node: Node): boolean =>
    node.children.length === 0 && node.logs.length === 0 && node.span.status !== "error";
  let count = 0;
  for (let index = start; index < children.length; index += 1) {
    const node = children[index] as Node;
    const same = node.span.service === first.span.service && node.span.name === first.span.name;
    if (!same || !plain(node)) break;
    count += 1;
  }
  return count;
}

/** Spans with an error in or below them. */
function withErrors(roots: Node[]): Set<Node> {
  const kept = new Set<Node>();
  const visit = (node: Node): boolean => {
    const below = node.children.map(visit).some(Boolean);
    const keep = below || node.span.status === "error";
    if (keep) kept.add(node);
    return keep;
  };
  roots.forEach(visit);
  return kept;
}

/** Whether a row is or tells of an error. */
export function isError(row: Row): boolean {
  if (row.kind === "span") return row.span.status === "error";
  return row.kind === "log" && /^(err|fatal|crit|emerg|alert|panic)/i.test(row.log.severity);
}

/** Start and end of a row on the time line. */
export function timesOf(row: Row): { startNs: bigint; endNs: bigint } {
  switch (row.kind) {
    case "span":
      return { startNs: BigInt(row.span.startNs), endNs: BigInt(row.span.endNs) };
    case "log":
      return { startNs: BigInt(row.log.timeNs), endNs: BigInt(row.log.timeNs) };
    default:
      return { startNs: row.startNs, endNs: row.endNs };
  }
}
