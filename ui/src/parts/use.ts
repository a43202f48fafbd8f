// Hooks: data that follows its inputs, the size of an element, the rows in sight, keys.

import type { RefObject } from "preact";
import { useEffect, useLayoutEffect, useState } from "preact/hooks";

import { isAbort } from "../api/client";

export type Loaded<T> =
  | { state: "loading"; before: T | null }
  | { state: "failed"; error: Error }
  | { state: "done"; data: T };

/** Loads whenever `key` changes; the previous load is ended. */
export function useLoad<T>(key: string, load: (abort: AbortSignal) => Promise<T>): Loaded<T> {
  const [loaded, setLoaded] = useState<Loaded<T>>({ state: "loading", before: null });
  useEffect(() => {
    const abort = new AbortController();
    setLoaded((now) => ({ state: "loading", before: now.state === "done" ? now.data : null }));
    load(abort.signal).then(
      (data) => setLoaded({ state: "done", data }),
      (error: unknown) => {
        if (!isAbort(error)) {
          setLoaded({
            state: "failed",
            error: error instanceof Error ? error : new Error(String(error)),
          });
        }
      },
    );
    return () => abort.abort();
  }, [key]);
  return loaded;
}

/** Width and height of an element, in CSS pixels. */
export function useSize(ref: RefObject<Element>): { width: number; height: number } {
  const [size, setSize] = useState({ width: 0, height: 0 });
  useEffect(() => {
    const element = ref.current;
    if (!element) return;
    const observer = new ResizeObserver(() => {
      const { width, height } = element.getBoundingClientRect();
      setSize((old) => (old.width === width && old.height === height ? old : { width, height }));
    });
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  return size;
}

/** Height of a row of every long list, `--row` in the style sheet. Units: px. */
export const ROW = 25;
/** Rows drawn above and below what is seen. */
const MARGIN = 12;

/** The rows of a list that are in sight while the page scrolls. Half-open. */
export function useVisible(
  ref: RefObject<HTMLElement>,
  count: number,
): { first: number; last: number } {
  const [seen, setSeen] = useState({ first: 0, last: 60 });
  const look = (): void => {
    const element = ref.current;
    if (!element) return;
    const top = element.getBoundingClientRect().top;
    // In steps of half the margin: not every pixel draws anew.
    const step = MARGIN / 2;
    const first = Math.floor(-top / ROW / step) * step - step;
    const last = Math.ceil((window.innerHeight - top) / ROW / step) * step + step;
    setSeen((old) => (old.first === first && old.last === last ? old : { first, last }));
  };
  useLayoutEffect(look); // What stands above the list may have grown.
  useEffect(() => {
    window.addEventListener("scroll", look, { passive: true });
    window.addEventListener("resize", look);
    return () => {
      window.removeEventListener("scroll", look);
      window.removeEventListener("resize", look);
    };
  }, []);
  const first = Math.max(0, Math.min(seen.first, count - 1));
  return { first, last: Math.max(first, Math.min(count, seen.last)) };
}

/** Scrolls the page as little as needed to show a row of `list` below a head of `head` pixels. */
export function reveal(list: HTMLElement, index: number, head: number): void {
  if (index < 0) return;
  const top = list.getBoundingClientRect().top + index * ROW;
  // On a phone the details cover the lower part.
  const sheet = document.querySelector("aside");
  const covered =
    sheet && getComputedStyle(sheet).position === "fixed" ? sheet.offsetHeight : 2 * ROW;
  const bottom = window.innerHeight - covered;
  if (top < head) window.scrollBy(0, top - head);
  else if (top + ROW > bottom) window.scrollBy(0, top + ROW - bottom);
}

/** Calls `press` for keys that are not typed into a field. Return true to keep the key. */
export function useKeys(press: (key: string) => boolean, inputs: unknown[]): void {
  // Not after the next paint: of two quick keys the second must see what the first has done.
  useLayoutEffect(() => {
    const listener = (event: KeyboardEvent): void => {
      const target = event.target as HTMLElement;
      const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName) || target.isContentEditable;
      if (typing || event.metaKey || event.ctrlKey || event.altKey) return;
      if (event.key === "Enter" && /^(BUTTON|A)$/.test(target.tagName)) return;
      if (press(event.key)) event.preventDefault();
    };
    window.addEventListener("keydown", listener);
    return () => window.removeEventListener("keydown", listener);
  }, inputs);
}
