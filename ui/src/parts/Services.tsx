// Who sends what, and when it last did: each cell leads to what was sent.

import type { IngestState } from "../api/ingest";
import { plural } from "../lib/number";
import { ago } from "../lib/time";

const msOf = (ns: string): number => Number(BigInt(ns) / 1_000_000n);

const LINKS: Record<string, (service: string) => string> = {
  metrics: () => "/graph",
  logs: (service) => `/logs?q=${encodeURIComponent(`{service_name=${JSON.stringify(service)}}`)}`,
  traces: (service) => `/traces?service=${encodeURIComponent(service)}`,
};

/** At most `most` services; the ingest page has them all. */
export function Services({ state, most }: { state: IngestState; most: number }) {
  const services = new Map<string, Map<string, string>>();
  for (const { service, signal, lastNs } of state.services) {
    const signals = services.get(service) ?? new Map<string, string>();
    services.set(service, signals.set(signal, lastNs));
  }
  const signals = ["traces", "logs", "metrics"];
  return (
    <div class="wide-table" tabIndex={0}>
      <table class="services">
        <thead>
          <tr>
            <th>service</th>
            {signals.map((signal) => (
              <th key={signal}>{signal}</th>
            ))}
          </tr>
        </thead>
        <tbody>
          {[...services]
            .sort()
            .slice(0, most)
            .map(([service, last]) => (
              <tr key={service}>
                <td>{service || "unnamed"}</td>
                {signals.map((signal) => {
                  const lastNs = last.get(signal);
                  return (
                    <td key={signal}>
                      {lastNs === undefined ? (
                        <span class="dim">–</span>
                      ) : (
                        <a
                          href={LINKS[signal]?.(service)}
                          aria-label={`${signal} of ${service || "unnamed"}`}
                        >
                          {ago(msOf(state.nowNs) - msOf(lastNs))}
                        </a>
                      )}
                    </td>
                  );
                })}
              </tr>
            ))}
        </tbody>
      </table>
      {services.size > most && (
        <a href="/ingest">and {plural(services.size - most, "more service")}</a>
      )}
    </div>
  );
}
