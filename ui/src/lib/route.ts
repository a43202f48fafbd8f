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

/** Goes to an address of this page. */
export function go(to: string, how: "push" | "replace" = "push"): void {
  if (how === "push") window.history.pushState(null, "", to);
  else window.history.replaceState(null, "", to);
  route.value = read();
}

/** Changes parameters of the present address. */
export function change(changes: Changes, how: "push" | "replace" = "replace"): void {
  go(address(route.value.path, route.value.params, changes), how);
}

/** Follows links inside the page without loading it anew. */
export function listen(): void {
  window.addEventListener("popstate", () => {
    route.value = read();
  });
  document.addEventListener("click", (event) => {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey) return;
    const link = (event.target as Element | null)?.closest("a[href^='/']");
    const href = link?.getAttribute("href");
    if (!href || link?.hasAttribute("download")) return;
    event.preventDefault();
    go(href);
    window.scrollTo(0, 0);
  });
}
