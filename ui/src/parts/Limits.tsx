// Limits in use, and a banner for those that are nearly met.

import type { TenantLimits } from "../api/limits";
import { inUse, nearlyMet, percent } from "../lib/limits";
import { count } from "../lib/number";

export function Limits({ state }: { state: TenantLimits }) {
  const near = nearlyMet(state.limits);
  const used = inUse(state.limits);
  return (
    <>
      <h2>Limits in use</h2>
      {near.length > 0 && (
        <p class="state" role="status">
          <span class="mono W">{percent(near[0]?.share ?? null)}</span> of{" "}
          {near.map((limit) => limit.name).join(", ")} is used: what comes above it is refused.
          Raise it, or send less.
        </p>
      )}
      <div class="wide-table" tabIndex={0}>
        <table>
          <thead>
            <tr>
              <th>limit of tenant {state.tenant}</th>
              <th class="num">value</th>
              <th>set by</th>
              <th class="num">in use</th>
              <th class="num">share</th>
            </tr>
          </thead>
          <tbody>
            {used.map((limit) => (
              <tr key={limit.name}>
                <td class="mono">{limit.name}</td>
                <td class="num">{limit.value}</td>
                <td>{limit.source}</td>
                <td class="num">{count(limit.usage ?? 0)}</td>
                <td class="num">{percent(limit.share)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </>
  );
}
