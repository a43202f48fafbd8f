// What arrived, and what was dropped and why.

import { bytes, count } from "../lib/number";
import { ago, dateTime } from "../lib/time";
import { useIngest } from "../parts/ingest";
import { Notices, useNotices } from "../parts/Notices";
import { Limits } from "../parts/Limits";
import { useLimits } from "../parts/useLimits";
import { Services } from "../parts/Services";
import { zone } from "../parts/settings";
import { Failed, Loading, Silent } from "../parts/states";

const msOf = (ns: string): number => Number(BigInt(ns) / 1_000_000n);

export function Ingest() {
  const { state, error } = useIngest();
  const notices = useNotices();
  const limits = useLimits();
  document.title = "Ingest · Tercet";
  if (!state) {
    return error ? (
      <Failed error={error} next="Asked again every second." />
    ) : (
      <Loading what="what has arrived" />
    );
  }
  return (
    <>
      <div class="head">
        <h1>What arrived, and what was dropped and why</h1>
        <span class="sub">
          since the server started, now {dateTime(msOf(state.nowNs), zone.value)}
        </span>
      </div>
      <Silent error={error} />
      <Notices notices={notices} />
      <div class="wide-table" tabIndex={0}>
        <table>
          <thead>
            <tr>
              <th>signal</th>
              <th class="num">records</th>
              <th class="num">requests</th>
              <th class="num">bytes</th>
              <th>last</th>
            </tr>
          </thead>
          <tbody>
            {state.signals.map((signal) => (
              <tr key={signal.signal}>
                <td>{signal.signal}</td>
                <td class="num">{count(signal.records)}</td>
                <td class="num">{count(signal.requests)}</td>
                <td class="num">{bytes(signal.bytes)}</td>
                <td>
                  {signal.lastNs === "0" ? "never" : ago(msOf(state.nowNs) - msOf(signal.lastNs))}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <h2>Dropped</h2>
      {state.discarded.length === 0 && (
        <p class="dim">
          Nothing: every record that arrived was kept. One that breaks a limit would stand here with
          its reason.
        </p>
      )}
      {state.discarded.length > 0 && (
        <div class="wide-table" tabIndex={0}>
          <table>
            <thead>
              <tr>
                <th>reason</th>
                <th>signal</th>
                <th>tenant</th>
                <th class="num">records</th>
              </tr>
            </thead>
            <tbody>
              {state.discarded.map((row) => (
                <tr key={`${row.reason}${row.signal}${row.tenant}`}>
                  <td class="mono">{row.reason}</td>
                  <td>{row.signal}</td>
                  <td>{row.tenant}</td>
                  <td class="num">{count(row.records)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      <h2>Recent problems</h2>
      {state.problems.length === 0 ? (
        <p class="dim">None: no request was refused.</p>
      ) : (
        <div class="wide-table" tabIndex={0}>
          <table class="problems">
            <thead>
              <tr>
                <th>when</th>
                <th>what was wrong, and what would be right</th>
                <th>signal</th>
                <th>tenant</th>
                <th class="num">records</th>
              </tr>
            </thead>
            <tbody>
              {state.problems.map((problem, index) => (
                <tr key={index}>
                  <td title={dateTime(msOf(problem.timeNs), zone.value)}>
                    {ago(msOf(state.nowNs) - msOf(problem.timeNs))}
                  </td>
                  <td class="name">
                    <span class="mono W">{problem.kind}</span> {problem.message}
                  </td>
                  <td>{problem.signal}</td>
                  <td>{problem.tenant}</td>
                  <td class="num">{problem.records === 0 ? "all" : count(problem.records)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {limits && <Limits state={limits} />}
      {state.services.length > 0 && (
        <>
          <h2>From whom</h2>
          <Services state={state} most={Infinity} />
        </>
      )}
    </>
  );
}
