// The series of a graph as a table: their colours, names and values, and which one alone is drawn.

import type { ReadonlySignal } from "@preact/signals";

import type { Series } from "../api/metrics";
import { nameOf } from "../lib/metric";
import { count, value } from "../lib/number";
import { change, route } from "../lib/route";
import { clock } from "../lib/time";
import { SERIES_DRAWN_MAX, seriesColour } from "./Graph";
import { zone } from "./settings";

/** Seconds under the pointer, or null where it is elsewhere. */
export type Cursor = number | null;

const numbers = (one: Series): number[] =>
  one.values.map(([, text]) => Number(text)).filter((number) => !Number.isNaN(number));

export function Legend({
  series,
  stepMs,
  cursor,
}: {
  series: Series[];
  stepMs: number;
  cursor: ReadonlySignal<Cursor>;
}) {
  const only = route.value.params.get("only");
  const at = cursor.value;
  return (
    <div class="wide-table" tabIndex={0}>
      <table>
        <thead>
          <tr>
            <th>
              {count(series.length)} series
              {series.length > SERIES_DRAWN_MAX && `, the first ${SERIES_DRAWN_MAX} drawn`}, a point
              each {stepMs / 1000} s
            </th>
            <th class="num">{at === null ? "last" : clock(at * 1000, zone.value)}</th>
            <th class="num">max</th>
          </tr>
        </thead>
        <tbody>
          {series.slice(0, SERIES_DRAWN_MAX).map((one, index) => {
            const name = nameOf(one.metric);
            const text =
              at === null
                ? one.values.at(-1)?.[1]
                : one.values.find(([time]) => Math.abs(time - at) < 0.0005)?.[1];
            const most = numbers(one).reduce((max, number) => Math.max(max, number), -Infinity);
            return (
              <tr key={name} class={only !== null && only !== name ? "off" : ""}>
                <td class="mono name">
                  <button
                    class="plain"
                    aria-pressed={only === name}
                    title="this series alone, or all"
                    onClick={() => change({ only: only === name ? null : name })}
                  >
                    <span class="svc" style={{ background: seriesColour(index) }} />
                    {name}
                  </button>
                </td>
                <td class="num">{text === undefined ? "–" : value(Number(text))}</td>
                <td class="num">{most === -Infinity ? "–" : value(most)}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}
