// The state of the page is its address: a path and parameters. Everything else follows from them.

import { signal } from "@preact/signals";

export interface Route {
  path: string;
  params: URLSearchParams;
}

const read = (): Route => ({
  path: window.location.pathname,
  params: new URLSearchParams(window.location.search),
});

export const route = signal<Route>(
  typeof window === "undefined" ? { path: "/", params: new URLSearchParams() } : read(),
);

export type Changes = Record<string, string | null>;

/** An address with some parameters changed; `null` removes one. */
export function address(path: string, params: URLSearchParams, changes: Changes): string {
  const next = new URLSearchParams(params);
  for (const [key, value] of Object.entries(changes)) {
    if (value === null || value === "") next.delete(key);
    else next.set(key, value);
  }
  const text = next.toString();
  return text === "" ? path : `${path}?${text}`;
}

/** How long the browser's address may stay behind: browsers refuse hundreds of changes a minute. */
const LAG_MS = 200;
let late: { to: string; timer: number } | null = null;

/** Writes an address that waits. */
function settle(): void {
  if (!late) return;
  window.clearTimeout(late.timer);
  window.history.replaceState(null, "", late.to);
  late = null;
}

/** Goes to an address of this page: at once for what is drawn, soon for the browser. */
export function go(to: string, how: "push" | "replace" = "push"): void {
  const { pathname, searchParams } = new URL(to, window.location.origin);
  if (how === "push") {
    settle();
    window.history.pushState(null, "", to);
  } else if (late) {
    late.to = to;
  } else {
    late = { to, timer: window.setTimeout(settle, LAG_MS) };
  }
  route.value = { path: pathname, params: searchParams };
}

/** The whole address of what is seen. */
export function href(): string {
  settle();
  return window.location.href;
}

/** Changes parameters of the present address. */
export function change(changes: Changes, how: "push" | "replace" = "replace"): void {
  go(address(route.value.path, route.value.params, changes), how);
}

/** A part of an address as people read it. */
export function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // Typed by hand, with a stray percent sign.
  }
}

/** Follows links inside the page without loading it anew. */
export function listen(): void {
  window.addEventListener("pagehide", settle);
  window.addEventListener("popstate", () => {
    if (late) window.clearTimeout(late.timer);
    late = null;
    route.value = read();
  });
  document.addEventListener("click", (event) => {
    if (event.defaultPrevented || event.button !== 0) return;
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const link = (event.target as Element | null)?.closest("a[href^='/']");
    const to = link?.getAttribute("href");
    if (!to || link?.hasAttribute("download")) return;
    event.preventDefault();
    go(to);
    window.scrollTo(0, 0);
  });
}
