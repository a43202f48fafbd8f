// Hooks: data that follows its inputs, the size of an element, keys.

import type { RefObject } from "preact";
import { useEffect, useState } from "preact/hooks";

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

/** Calls `press` for keys that are not typed into a field. Return true to keep the key. */
export function useKeys(press: (key: string) => boolean, inputs: unknown[]): void {
  useEffect(() => {
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
