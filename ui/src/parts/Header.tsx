// The header of every page: the one search box, the pages, theme and zone.

import { useEffect, useRef, useState } from "preact/hooks";

import { metricNames } from "../api/metrics";
import { classify, type Understood } from "../lib/classify";
import { decoded, go, route } from "../lib/route";
import { theme, toggleTheme, toggleZone, zone } from "./settings";

const PAGES = [
  ["/traces", "Traces"],
  ["/logs", "Logs"],
  ["/graph", "Metrics"],
  ["/ingest", "Ingest"],
] as const;

/** Where what was understood is shown. Time range parameters come along. */
export function target(understood: Understood, params: URLSearchParams): string | null {
  const range = new URLSearchParams();
  for (const key of ["from", "to"]) {
    const value = params.get(key);
    if (value) range.set(key, value);
  }
  switch (understood.kind) {
    case "empty":
      return null;
    case "id":
      return `/id/${encodeURIComponent(understood.id)}`;
    default:
      range.set("q", understood.query);
      // Not /metrics: there the server shows its own, to whoever scrapes it.
      return `${understood.kind === "metrics" ? "/graph" : "/logs"}?${range.toString()}`;
  }
}

const WORDS: Record<Understood["kind"], string> = {
  empty: "an ID, words, PromQL or LogQL",
  id: "an ID, over all time",
  logs: "log lines",
  metrics: "PromQL",
};

function textOf(path: string, params: URLSearchParams): string {
  if (path.startsWith("/id/")) return decoded(path.slice(4));
  return params.get("q") ?? "";
}

export function Header() {
  const { path, params } = route.value;
  const [text, setText] = useState(textOf(path, params));
  const [names, setNames] = useState<ReadonlySet<string>>(new Set());
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => setText(textOf(path, params)), [path, params.get("q")]);
  useEffect(() => {
    const focus = (event: KeyboardEvent): void => {
      const at = event.target as HTMLElement;
      const palette = event.key === "k" && (event.ctrlKey || event.metaKey);
      if (!palette && (event.key !== "/" || /^(INPUT|TEXTAREA)$/.test(at.tagName))) return;
      event.preventDefault();
      input.current?.focus();
      input.current?.select();
    };
    window.addEventListener("keydown", focus);
    return () => window.removeEventListener("keydown", focus);
  }, []);
  const understood = classify(text, (name) => names.has(name));
  const learnNames = (): void => {
    metricNames(new AbortController().signal).then(
      (list) => setNames(new Set(list)),
      () => undefined, // Without names a bare word is searched in the logs.
    );
  };
  const submit = (event: Event): void => {
    event.preventDefault();
    const to = target(understood, params);
    if (to !== null) go(to);
    input.current?.blur();
  };
  return (
    <header class="top">
      <a class="mark" href="/">
        <i />
        Tercet
      </a>
      <form class="box" role="search" onSubmit={submit}>
        <span class="D" aria-hidden="true">
          ⌕
        </span>
        <input
          ref={input}
          value={text}
          aria-label="Search: an ID, words, PromQL or LogQL"
          placeholder="paste an ID, type words, PromQL or LogQL"
          spellcheck={false}
          autocomplete="off"
          onFocus={learnNames}
          onInput={(event) => setText(event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key === "Escape") input.current?.blur();
          }}
        />
        <span class="understood wide">{WORDS[understood.kind]}</span>
        <kbd>/</kbd>
      </form>
      <nav aria-label="Pages">
        {PAGES.map(([href, name]) => (
          <a key={href} href={href} aria-current={path === href ? "page" : undefined}>
            {name}
          </a>
        ))}
      </nav>
      <div class="tools">
        <button
          onClick={toggleZone}
          title="Time zone of all times on this page"
          aria-label={`Times in ${zone.value === "UTC" ? "UTC" : "the local zone"}: change`}
        >
          {zone.value === "UTC" ? "UTC" : "local"}
        </button>
        <button
          onClick={toggleTheme}
          title="Dark or light"
          aria-label={`Change to ${theme.value === "dark" ? "light" : "dark"}`}
        >
          {theme.value === "dark" ? "light" : "dark"}
        </button>
      </div>
    </header>
  );
}
