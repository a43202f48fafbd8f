// What a person chose for this browser: theme and zone.

import { signal } from "@preact/signals";

import type { Zone } from "../lib/time";

function stored(key: string): string | null {
  try {
    return window.localStorage.getItem(key);
  } catch {
    return null; // A browser that stores nothing still shows everything.
  }
}

function store(key: string, value: string): void {
  try {
    window.localStorage.setItem(key, value);
  } catch {
    // As above.
  }
}

export type Theme = "dark" | "light";

const prefersLight = (): boolean => window.matchMedia("(prefers-color-scheme: light)").matches;

export const theme = signal<Theme>(
  (stored("theme") as Theme | null) ?? (prefersLight() ? "light" : "dark"),
);
export const zone = signal<Zone>((stored("zone") as Zone | null) ?? "local");

export function applyTheme(next: Theme): void {
  theme.value = next;
  document.documentElement.dataset["theme"] = next;
}

export function toggleTheme(): void {
  applyTheme(theme.value === "dark" ? "light" : "dark");
  store("theme", theme.value);
}

export function toggleZone(): void {
  zone.value = zone.value === "UTC" ? "local" : "UTC";
  store("zone", zone.value);
}
