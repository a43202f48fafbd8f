// What the server wants an operator to decide, such as retention after a jump of its clock.

import { useEffect, useState } from "preact/hooks";

import { status } from "../api/ingest";

const POLL_MS = 10_000;

/** Followed while the page is seen; what goes wrong is asked again. */
export function useNotices(): string[] {
  const [notices, setNotices] = useState<string[]>([]);
  useEffect(() => {
    const abort = new AbortController();
    const ask = (): void => {
      if (document.hidden) return;
      status(abort.signal).then(
        (state) => setNotices(state.notices),
        () => undefined,
      );
    };
    ask();
    const timer = window.setInterval(ask, POLL_MS);
    return () => {
      window.clearInterval(timer);
      abort.abort();
    };
  }, []);
  return notices;
}

export function Notices({ notices }: { notices: string[] }) {
  return (
    <>
      {notices.map((notice) => (
        <p class="state" role="status" key={notice}>
          <span class="mono W">!</span> {notice}
        </p>
      ))}
    </>
  );
}
