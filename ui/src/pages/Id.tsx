// The page of one ID: what was found, the verdict, and the story.

import { useMemo, useState } from "preact/hooks";

import { type Lookup, lookup } from "../api/lookup";
import { coloursOf } from "../lib/colour";
import { plural } from "../lib/number";
import { change, href, route } from "../lib/route";
import { isError, type Row, rowsOf, storyOf, textOf, timesOf } from "../lib/story";
import { clock, dateTime, duration } from "../lib/time";
import { copy } from "../parts/copy";
import { Details } from "../parts/Details";
import { zone } from "../parts/settings";
import { Spark } from "../parts/Spark";
import { EmptyPage, Failed, Loading } from "../parts/states";
import { useKeys, useLoad } from "../parts/use";
import { Waterfall } from "../parts/Waterfall";

export function Id({ id }: { id: string }) {
  const [times, setTimes] = useState(0);
  const again = (): void => setTimes(times + 1);
  const loaded = useLoad(`${times} ${id}`, (abort) => lookup(id, abort));
  if (loaded.state === "failed") {
    return <Failed error={loaded.error} next="The same address may be loaded again." />;
  }
  const found = loaded.state === "loading" ? loaded.before : loaded.data;
  if (!found) return <Loading what={id} />;
  const nothing = found.summary.spans + found.summary.logs + found.summary.exemplars === 0;
  return nothing ? <Nothing found={found} again={again} /> : <Found found={found} again={again} />;
}

function Nothing({ found, again }: { found: Lookup; again: () => void }) {
  document.title = `${found.id.slice(0, 12)} · Tercet`;
  const partial = found.notices.unread.length > 0;
  return (
    <EmptyPage title={partial ? "Nothing found in what could be read" : "Nothing carries this ID"}>
      <p>
        <code>{found.id}</code> is in no span, log line or exemplar, over all time. Searched in{" "}
        {duration(found.tookMs * 1e6)}.
      </p>
      {found.notices.unread.map((part) => (
        <p key={part.name} class="W">
          not read: {part.name}: {part.why}
        </p>
      ))}
      <p>
        It may not have arrived yet, or it was refused:{" "}
        <a href="/ingest">what was dropped and why</a>. Or{" "}
        <a
          href={`/logs?q=${encodeURIComponent(`{service_name=~".+"} |= ${JSON.stringify(found.id)}`)}`}
        >
          search the log lines
        </a>{" "}
        for a part of it.
      </p>
      <button onClick={again}>look again</button>
    </EmptyPage>
  );
}

function set(text: string | null): Set<string> {
  return new Set((text ?? "").split(",").filter((part) => part !== ""));
}

function toggled(text: string | null, key: string): string | null {
  const keys = set(text);
  if (!keys.delete(key)) keys.add(key);
  return keys.size === 0 ? null : [...keys].join(",");
}

function Found({ found, again }: { found: Lookup; again: () => void }) {
  const { params } = route.value;
  const [help, setHelp] = useState(false);
  const story = useMemo(() => storyOf(found), [found]);
  const view = {
    closed: set(params.get("closed")),
    unfolded: set(params.get("open")),
    logs: params.get("logs") !== "off",
    errorsOnly: params.get("errors") === "only",
  };
  const viewKey = ["closed", "open", "logs", "errors"].map((key) => params.get(key)).join("|");
  const rows = useMemo(() => rowsOf(story, view), [story, viewKey]);
  const colours = useMemo(() => coloursOf(found.summary.services), [found]);
  const totalNs = Number(story.endNs - story.startNs);
  const zoom = /^(\d+)-(\d+)$/.exec(params.get("zoom") ?? "");
  const shown = zoom ? { from: Number(zoom[1]), to: Number(zoom[2]) } : { from: 0, to: totalNs };
  const selected = params.get("sel");
  const row = rows.find((candidate) => candidate.key === selected);
  const details = params.get("details") !== null && row !== undefined;
  const showCritical = params.get("critical") !== "off";

  const select = (next: Row | undefined): void => {
    if (next) change({ sel: next.key });
  };
  const toggle = (next: Row): void => {
    if (next.kind === "folded") change({ open: toggled(params.get("open"), next.key) });
    else if (next.kind === "span" && next.children > 0) {
      change({ closed: toggled(params.get("closed"), next.key) });
    }
  };
  const press = (key: string): boolean => {
    const index = rows.findIndex((candidate) => candidate.key === selected);
    const move = (by: number): void => {
      select(rows[Math.max(0, Math.min(rows.length - 1, index + by))]);
    };
    const flip = (name: string, off: string): void => {
      change({ [name]: params.get(name) === off ? null : off });
    };
    const actions: Record<string, () => void> = {
      j: () => move(1),
      ArrowDown: () => move(1),
      k: () => move(index < 0 ? 1 : -1),
      ArrowUp: () => move(index < 0 ? 1 : -1),
      Enter: () => {
        if (row?.kind === "folded") toggle(row);
        else change({ details: details ? null : "1" });
      },
      ArrowLeft: () => {
        if (row?.kind === "span" && row.open) toggle(row);
      },
      ArrowRight: () => {
        if (row?.kind === "folded" || (row?.kind === "span" && !row.open)) toggle(row);
      },
      Escape: () =>
        help ? setHelp(false) : change({ details: null, sel: details ? selected : null }),
      e: () =>
        select(
          rows.find((candidate, at) => at > index && isError(candidate)) ?? rows.find(isError),
        ),
      E: () => flip("errors", "only"),
      l: () => flip("logs", "off"),
      p: () => flip("critical", "off"),
      z: () => {
        if (!row) return;
        const { startNs, endNs } = timesOf(row);
        const start = Number(startNs - story.startNs);
        const length = Number(endNs - startNs);
        const margin = Math.max(length / 20, totalNs / 1000, 1);
        const from = Math.max(0, Math.floor(start - margin));
        const to = Math.min(totalNs, Math.ceil(start + length + margin));
        change({ zoom: `${from}-${to}` });
      },
      Z: () => change({ zoom: null }),
      y: () => copy(href(), "link"),
      "?": () => setHelp(!help),
    };
    const action = actions[key];
    action?.();
    return action !== undefined;
  };
  useKeys(press, [rows, selected, details, help, params]);

  return (
    <>
      <Head found={found} story={story} totalNs={totalNs} />
      <Verdict found={found} />
      {found.exemplars.length > 0 && <Exemplars found={found} />}
      <div class="bar-row">
        <button aria-pressed={view.logs} onClick={() => press("l")}>
          log lines
        </button>
        <button aria-pressed={view.errorsOnly} onClick={() => press("E")}>
          errors only
        </button>
        <button aria-pressed={showCritical} onClick={() => press("p")}>
          critical path
        </button>
        {zoom && <button onClick={() => press("Z")}>show all {duration(totalNs)}</button>}
        <button onClick={again}>look again</button>
        <button onClick={() => press("y")}>copy link</button>
        <button
          onClick={() =>
            copy(
              textOf(rows, (ns) => clock(Number(ns / 1_000_000n), zone.value)),
              "text",
            )
          }
        >
          copy text
        </button>
        <button
          class="wide"
          onClick={() => {
            const path = `/tercet/api/v1/lookup/${encodeURIComponent(found.id)}`;
            copy(`curl -s '${window.location.origin}${path}'`, "curl");
          }}
        >
          copy curl
        </button>
        <a
          href={`/tercet/api/v1/lookup/${encodeURIComponent(found.id)}`}
          download={`${found.id}.json`}
        >
          download JSON
        </a>
      </div>
      <div class={details ? "body" : "body alone"}>
        <Waterfall
          story={story}
          rows={rows}
          colours={colours}
          selected={selected}
          window={shown}
          showCritical={showCritical}
          onSelect={(next) => change({ sel: next.key, details: "1" })}
          onToggle={toggle}
          onWindow={(next) =>
            change({ zoom: next ? `${Math.round(next.from)}-${Math.round(next.to)}` : null })
          }
        />
        {details && row && <Details row={row} onClose={() => change({ details: null })} />}
      </div>
      <Keys />
      {help && (
        <div
          class="help"
          role="dialog"
          aria-modal="true"
          aria-label="Keys"
          onClick={() => setHelp(false)}
        >
          <div class="card">
            <h2>Keys</h2>
            <Keys />
            <button ref={(button) => button?.focus()}>close</button>
          </div>
        </div>
      )}
    </>
  );
}

function Head({
  found,
  story,
  totalNs,
}: {
  found: Lookup;
  story: ReturnType<typeof storyOf>;
  totalNs: number;
}) {
  const { summary } = found;
  const root = story.roots[0]?.span;
  const title = root ? `${root.service} ${root.name}` : found.id;
  document.title = `${found.id.slice(0, 12)} · Tercet`;
  const facts = [
    dateTime(Number(story.startNs / 1_000_000n), zone.value),
    duration(totalNs),
    plural(summary.services.length, "service"),
    plural(summary.spans, "span"),
    plural(summary.logs, "log line"),
    plural(summary.exemplars, "exemplar"),
    ...(summary.traces.length > 1 ? [plural(summary.traces.length, "trace")] : []),
    `found in ${duration(found.tookMs * 1e6)}`,
  ];
  return (
    <div class="head">
      <h1>{title}</h1>
      <span class="sub">
        <span class="mono">{found.id}</span> · {facts.join(" · ")}
        {summary.errors > 0 && <span class="E"> · {plural(summary.errors, "error")}</span>}
      </span>
    </div>
  );
}

function Verdict({ found }: { found: Lookup }) {
  const { verdict, notices } = found;
  const unread = notices.unread.length > 0;
  const kind = verdict.complete ? "ok" : unread ? "bad" : "";
  return (
    <div class={`verdict ${kind}`} role="status">
      <b>{verdict.complete ? "Complete" : unread ? "Partial" : "Nearly complete"}</b>
      <span>{verdict.text}</span>
      {verdict.missing.slice(0, 3).map((missing) => (
        <span key={`${missing.kind}${missing.spanId ?? missing.text}`}>{missing.text}.</span>
      ))}
      {verdict.missing.length > 3 && <span>and {verdict.missing.length - 3} more.</span>}
      {notices.warnings.map((warning) => (
        <span key={warning}>{warning}</span>
      ))}
    </div>
  );
}

/** The metrics that point at this ID, one each, around its time. */
function Exemplars({ found }: { found: Lookup }) {
  const names = new Map(
    found.exemplars.map((exemplar) => [exemplar.series["__name__"] ?? "", exemplar]),
  );
  return (
    <div class="strip" role="group" aria-label="Metrics with an exemplar of this ID">
      {[...names].slice(0, 4).map(([name, exemplar]) => (
        <Spark
          key={name}
          series={exemplar.series}
          timeMs={exemplar.timeMs}
          number={exemplar.value}
        />
      ))}
    </div>
  );
}

const KEYS = [
  ["j k", "move"],
  ["Enter", "details"],
  ["← →", "close, open"],
  ["e", "next error"],
  ["E", "errors only"],
  ["l", "log lines on/off"],
  ["p", "critical path"],
  ["z Z", "zoom to the row, to all"],
  ["y", "copy link"],
  ["/", "search"],
  ["?", "all keys"],
] as const;

function Keys() {
  return (
    <div class="keys">
      {KEYS.map(([key, what]) => (
        <span key={key}>
          <kbd>{key}</kbd> {what}
        </span>
      ))}
    </div>
  );
}
