// The page of one ID: what was found, the verdict, and the story.

import { useMemo, useState } from "preact/hooks";

import { type Lookup, lookup } from "../api/lookup";
import { coloursOf } from "../lib/colour";
import { plural, value } from "../lib/number";
import { change, route } from "../lib/route";
import { isError, type Row, rowsOf, storyOf } from "../lib/story";
import { dateTime, duration } from "../lib/time";
import { copy } from "../parts/copy";
import { Details } from "../parts/Details";
import { zone } from "../parts/settings";
import { Empty, Failed, Loading } from "../parts/states";
import { useKeys, useLoad } from "../parts/use";
import { Waterfall } from "../parts/Waterfall";

export function Id({ id }: { id: string }) {
  const loaded = useLoad(id, (abort) => lookup(id, abort));
  if (loaded.state === "failed") {
    return <Failed error={loaded.error} next="Reload to try again." />;
  }
  if (loaded.state === "loading") return <Loading what={id} />;
  const found = loaded.data;
  const nothing = found.summary.spans + found.summary.logs + found.summary.exemplars === 0;
  return nothing ? <Nothing found={found} /> : <Found found={found} />;
}

function Nothing({ found }: { found: Lookup }) {
  const partial = found.notices.unread.length > 0;
  return (
    <Empty title={partial ? "Nothing found in what could be read" : "Nothing carries this ID"}>
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
    </Empty>
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

function Found({ found }: { found: Lookup }) {
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
      z: () => change({ zoom: null }),
      y: () => copy(window.location.href, "link"),
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
        {zoom && <button onClick={() => press("z")}>show all {duration(totalNs)}</button>}
        <button onClick={() => press("y")}>copy link</button>
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
        <div class="help" onClick={() => setHelp(false)}>
          <div class="card">
            <h2>Keys</h2>
            <Keys />
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

function Exemplars({ found }: { found: Lookup }) {
  return (
    <div class="strip">
      {found.exemplars.slice(0, 4).map((exemplar) => {
        const name = exemplar.series["__name__"] ?? "";
        const around = {
          from: String(exemplar.timeMs - 900_000),
          to: String(exemplar.timeMs + 900_000),
        };
        const query = new URLSearchParams({ q: `rate(${name}[1m])`, ...around });
        return (
          <a class="tile" key={`${name}${exemplar.timeMs}`} href={`/metrics?${query.toString()}`}>
            <div class="k">{name}</div>
            <div class="v">{value(exemplar.value)}</div>
            <div class="k">exemplar at {dateTime(exemplar.timeMs, zone.value)}</div>
          </a>
        );
      })}
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
  ["z", "zoom out"],
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
