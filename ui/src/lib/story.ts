// The story of an ID: spans and log lines as rows of one list, in tree and time order.

import type { LogRecord, Lookup, Missing, Span } from "../api/lookup";
import { duration } from "./time";

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
  /** What an address calls a log record: the same however the story is looked at. */
  logKeys: ReadonlyMap<LogRecord, string>;
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
  cutCircles(nodes.values(), roots);
  const looseLogs: LogRecord[] = [];
  const logKeys = new Map<LogRecord, string>();
  const alike = new Map<string, number>();
  for (const log of found.logs) {
    const key = `log/${log.timeNs}/${log.spanId}`;
    const nth = alike.get(key) ?? 0;
    alike.set(key, nth + 1);
    logKeys.set(log, nth === 0 ? key : `${key}/${nth}`);
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
    logKeys,
    missing: found.verdict.missing,
    startNs,
    endNs: endNs > startNs ? endNs : startNs + 1n,
  };
}

/** Spans that are below themselves hang on no root: the first of each circle becomes one. */
function cutCircles(nodes: Iterable<Node>, roots: Node[]): void {
  const reached = new Set<Node>();
  const reach = (from: Node): void => {
    const stack = [from];
    for (let node = stack.pop(); node; node = stack.pop()) {
      if (reached.has(node)) continue;
      reached.add(node);
      for (const child of node.children) stack.push(child);
    }
  };
  roots.forEach(reach);
  const all = [...nodes];
  for (const node of all) {
    if (reached.has(node)) continue;
    for (const parent of all) {
      const at = parent.children.indexOf(node);
      if (at >= 0) parent.children.splice(at, 1);
    }
    roots.push(node);
    reach(node);
  }
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
    rows.push({ kind: "log", key: story.logKeys.get(log) ?? "", log, depth });
  };

  // What is open and not at its end, outermost first: a stack of our own, however deep the calls.
  interface Frame {
    children: Node[];
    logs: LogRecord[];
    depth: number;
    next: number;
    log: number;
    /** Children before this one are shown one by one. */
    unfoldedTo: number;
  }
  const open: Frame[] = [];

  const emit = (node: Node, depth: number): void => {
    if (wanted && !wanted.has(node)) return;
    const key = `${node.span.traceId}/${node.span.spanId}`;
    const isOpen = !view.closed.has(key);
    const children = node.children.length;
    rows.push({ kind: "span", key, span: node.span, depth, children, open: isOpen });
    if (!isOpen) return;
    const logs = view.logs ? node.logs : [];
    const start = { depth: depth + 1, next: 0, log: 0, unfoldedTo: 0 };
    open.push({ children: node.children, logs, ...start });
  };

  const emitBelow = (): void => {
    for (let frame = open.at(-1); frame; frame = open.at(-1)) {
      const child = frame.children[frame.next];
      const log = frame.logs[frame.log];
      if (log && (!child || BigInt(log.timeNs) < child.startNs)) {
        emitLog(log, frame.depth);
        frame.log += 1;
        continue;
      }
      if (!child) {
        open.pop();
        continue;
      }
      const single = wanted !== null || frame.next < frame.unfoldedTo;
      const alike = single ? 1 : alikeFrom(frame.children, frame.next);
      const key = `fold/${child.span.traceId}/${child.span.spanId}`;
      if (view.unfolded.has(key)) frame.unfoldedTo = frame.next + alike;
      if (alike < FOLD_MIN || view.unfolded.has(key)) {
        frame.next += 1;
        emit(child, frame.depth);
        continue;
      }
      const run = frame.children.slice(frame.next, frame.next + alike);
      rows.push({
        kind: "folded",
        key,
        spans: run.map((node) => node.span),
        depth: frame.depth,
        startNs: child.startNs,
        endNs: run.reduce((end, node) => (node.endNs > end ? node.endNs : end), child.endNs),
      });
      frame.next += alike;
    }
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
    emitBelow();
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
  // Parents before children, so that the way back meets children first.
  const all = [...roots];
  for (let index = 0; index < all.length; index += 1) {
    for (const child of all[index]?.children ?? []) all.push(child);
  }
  const kept = new Set<Node>();
  for (const node of all.reverse()) {
    if (node.span.status === "error" || node.children.some((child) => kept.has(child))) {
      kept.add(node);
    }
  }
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

/** The story as text, for a ticket or a chat: a line each row. */
export function textOf(rows: Row[], time: (ns: bigint) => string): string {
  const line = (row: Row): string => {
    const { startNs, endNs } = timesOf(row);
    const length = duration(Number(endNs - startNs));
    switch (row.kind) {
      case "span": {
        const { service, name, status, statusMessage } = row.span;
        const error = status === "error" ? `  ERROR ${statusMessage}`.trimEnd() : "";
        return `${service} ${name}  ${length}${error}`;
      }
      case "log":
        return `${row.log.severity || "LOG"} ${row.log.service} ${row.log.line}`;
      case "folded":
        return `${row.spans.length} × ${row.spans[0]?.service} ${row.spans[0]?.name}  ${length}`;
      default:
        return row.missing.text;
    }
  };
  return rows
    .map((row) => `${time(timesOf(row).startNs)}  ${"  ".repeat(row.depth)}${line(row)}`)
    .join("\n");
}
