// Loading, empty, partial and failed: designed states, each with the next step in words.

import type { ComponentChildren } from "preact";

export function Loading({ what }: { what: string }) {
  return (
    <div class="state" role="status">
      Looking for {what} …
    </div>
  );
}

export function Failed({ error, next }: { error: Error; next: string }) {
  return (
    <div class="verdict bad" role="alert">
      <b>No answer</b>
      <span class="mono">{error.message}</span>
      <span>{next}</span>
    </div>
  );
}

/** Above what was last heard of a server that answers no more. */
export function Silent({ error }: { error: Error | null }) {
  return error && <Failed error={error} next="Asked again every second." />;
}

/** Nothing in a part of a page. */
export function Empty({ title, children }: { title: string; children: ComponentChildren }) {
  return (
    <div class="state" role="status">
      <b>{title}</b>
      {children}
    </div>
  );
}

/** A page with nothing on it. */
export function EmptyPage({ title, children }: { title: string; children: ComponentChildren }) {
  return (
    <div class="state">
      <h1>{title}</h1>
      {children}
    </div>
  );
}

export function Notices({ list }: { list: string[] }) {
  if (list.length === 0) return null;
  return (
    <div class="verdict">
      <b>Partial or with a warning</b>
      {list.map((notice) => (
        <span key={notice}>{notice}</span>
      ))}
    </div>
  );
}
