// A server and the demo on free ports, ended with the tests.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** How long the server may take to say its addresses. Units: ms. */
const START_MAX_MS = 30_000;

const here = (path) => new URL(path, import.meta.url).pathname;

/** The binary to test: `TERCET_BIN`, or what cargo has built last for debugging or release. */
export function binary() {
  const named = process.env["TERCET_BIN"];
  const places = named
    ? [named]
    : [here("../../../target/debug/tercet"), here("../../../target/release/tercet")];
  const found = places.find((path) => existsSync(path));
  if (!found) throw new Error(`no tercet binary at ${places.join(" or ")}; set TERCET_BIN`);
  return found;
}

/** The browser: `CHROMIUM` alone if it is set, else where systems keep theirs. */
export function chromium() {
  const named = process.env["CHROMIUM"];
  const usual = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
  return (named ? [named] : usual).find((path) => existsSync(path));
}

/** The environment: the server takes every TERCET_ variable for a setting of its own. */
function environment() {
  const kept = Object.entries(process.env).filter(([name]) => !name.startsWith("TERCET_"));
  return Object.fromEntries(kept);
}

/** The settings of somebody who may read. */
export function reader(name, password) {
  const options = { env: environment(), input: `${password}\n` };
  return execFileSync(binary(), ["user", "hash", "--name", name], options).toString();
}

/** A child whose output is kept, with a wait for a pattern in it. */
function run(args) {
  const env = environment();
  const child = spawn(binary(), args, { env, stdio: ["ignore", "pipe", "pipe"] });
  const said = { text: "", errors: "" };
  const waiting = new Set();
  child.stdout.on("data", (part) => {
    said.text += part;
    for (const look of waiting) look();
  });
  child.stderr.on("data", (part) => (said.errors += part));
  const says = (pattern) =>
    new Promise((resolve, reject) => {
      const give = (finish, value) => {
        clearTimeout(timer);
        waiting.delete(look);
        finish(value);
      };
      const fail = () =>
        give(
          reject,
          new Error(`tercet ${args[0]} never said ${pattern}:\n${said.text}${said.errors}`),
        );
      const look = () => {
        const match = pattern.exec(said.text);
        if (match) give(resolve, match[1]);
      };
      const timer = setTimeout(fail, START_MAX_MS);
      child.once("exit", fail);
      waiting.add(look);
      look();
    });
  const end = () =>
    new Promise((resolve) => {
      if (child.exitCode !== null || child.signalCode !== null) return resolve();
      child.once("exit", resolve);
      child.kill();
    });
  return { says, end };
}

/** With settings, they are the server's TOML file. */
export async function serve(settings = "") {
  const data = mkdtempSync(join(tmpdir(), "tercet-browser-"));
  const free = "127.0.0.1:0";
  const flags = ["--data", data, "--http", free, "--otlp-http", free, "--otlp-grpc", free];
  const file = `${data}.toml`;
  writeFileSync(file, settings);
  const child = run(["serve", ...flags, "--config", file]);
  const otlp = await child.says(/^otlp\/http\s+(http\S+)/m);
  return {
    page: await child.says(/^page\s+(http\S+)/m),
    otlp,
    /** Sends OTLP as JSON, which must be taken. */
    async send(path, body) {
      const headers = { "content-type": "application/json" };
      const request = { method: "POST", headers, body: JSON.stringify(body) };
      const response = await fetch(`${otlp}${path}`, request);
      assert.equal(response.status, 200, await response.text());
    },
    async end() {
      await child.end();
      rmSync(data, { recursive: true, force: true });
      rmSync(file, { force: true });
    },
  };
}

/** Sends until ended; `failed` is the ID of a trace that did. */
export async function demo(otlp) {
  const child = run(["demo", "--to", otlp]);
  return { failed: () => child.says(/one that failed: ([0-9a-f]{32})/), end: child.end };
}
