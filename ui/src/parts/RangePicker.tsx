// A field that takes a range as people write it, and steps back, forward and out.

import { useState } from "preact/hooks";

import { change, route } from "../lib/route";
import { dateTime, parseRange, rangeOf } from "../lib/time";
import { zone } from "./settings";

const PRESETS = ["15m", "1h", "6h", "1d", "7d"];

const now = (): number => Date.now();

function set(from: number, to: number): void {
  change({ from: String(Math.round(from)), to: String(Math.round(to)) }, "push");
}

export function RangePicker() {
  const { params } = route.value;
  const [text, setText] = useState("");
  const [wrong, setWrong] = useState(false);
  const range = rangeOf(params, now());
  const width = range.to - range.from;
  const from = params.get("from") ?? "now-1h";
  const relative = (params.get("to") ?? "now") === "now" ? /^now-(.+)$/.exec(from)?.[1] : undefined;
  const submit = (event: Event): void => {
    event.preventDefault();
    const parsed = parseRange(text, now());
    setWrong(parsed === null);
    if (parsed) {
      set(parsed.from, parsed.to);
      setText("");
    }
  };
  return (
    <div class="bar-row">
      {PRESETS.map((preset) => (
        <button
          key={preset}
          aria-pressed={relative === preset}
          onClick={() => change({ from: `now-${preset}`, to: null }, "push")}
        >
          {preset}
        </button>
      ))}
      <button title="Earlier" onClick={() => set(range.from - width / 2, range.to - width / 2)}>
        ←
      </button>
      <button title="Later" onClick={() => set(range.from + width / 2, range.to + width / 2)}>
        →
      </button>
      <button title="Zoom out" onClick={() => set(range.from - width / 2, range.to + width / 2)}>
        out
      </button>
      <form class="box wide" style={{ maxWidth: "290px" }} onSubmit={submit}>
        <input
          value={text}
          aria-label="Time range"
          aria-invalid={wrong}
          placeholder="2h ago to now · a time ± 5m"
          onInput={(event) => setText(event.currentTarget.value)}
        />
      </form>
      {wrong && <span class="W">write 15m, “2h ago to now” or “2026-11-20 14:03 +- 5m”</span>}
      <span class="dim mono">
        {dateTime(range.from, zone.value)} – {dateTime(range.to, zone.value)}
      </span>
    </div>
  );
}
