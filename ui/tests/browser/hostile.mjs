// Names and texts that want to be code, in every place where data can stand: the page shows them.
// Run by row H6 of tests/chaos, or by hand: node --test ui/tests/browser/hostile.mjs

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { chromium as playwright } from "playwright-core";

import { chromium, serve } from "./server.mjs";

const executablePath = chromium();
if (!executablePath) {
  process.stdout.write("SKIPPED browser: no chromium is installed (apt install chromium)\n");
  process.exit(0);
}

/** For what the server does in its own time. Units: ms. */
const SOON_MS = 20_000;
/** How long code would need to run once its page is there. Units: ms. */
const SETTLE_MS = 100;

/** What runs where text becomes markup, an attribute, an address, a template or a style. */
const CORPUS = [
  `<script>alert(1)</script>`,
  `<img src=x onerror=alert(2)>`,
  `"><svg/onload=alert(3)>`,
  `'><details open ontoggle=alert(4)>`,
  `javascript:alert(5)`,
  `</title></style></textarea><script>alert(6)</script>`,
  `<iframe srcdoc="<script>parent.alert(7)</script>">`,
  `{{constructor.constructor('alert(8)')()}}`,
  `\${alert(9)}`,
  `[x](javascript:alert(10))`,
  `<a href="javascript:alert(11)" autofocus onfocus=alert(11)>x</a>`,
  `<math><mtext></p><style><img src=x onerror=alert(12)></style>`,
  `\u202ebidi\u2066 \u0007\u001b[31mred\u001b]0;title\u0007`,
  `__proto__`,
];
const TRACE = "ab".repeat(16);
const ID = (index) => (index + 1).toString(16).padStart(16, "0");

let server, browser, context, page;
const dialogs = [];
const complaints = [];

const now = () => String(BigInt(Date.now()) * 1_000_000n);
const value = (text) => ({ stringValue: text });
const attributes = () => CORPUS.map((text) => ({ key: text, value: value(text) }));
const resource = (service) => ({
  attributes: [{ key: "service.name", value: value(service) }, ...attributes()],
});

async function fill() {
  for (const [index, text] of CORPUS.entries()) {
    const scope = { name: text, version: text };
    const logRecords = CORPUS.map((line) => ({
      timeUnixNano: now(),
      severityText: text,
      body: value(`needle ${line}`),
      attributes: attributes(),
      traceId: TRACE,
      spanId: ID(index),
      eventName: text,
    }));
    const scopeLogs = [{ scope, logRecords }];
    await server.send("/v1/logs", { resourceLogs: [{ resource: resource(text), scopeLogs }] });
    const at = BigInt(now()) - 1_000_000_000n;
    const span = {
      traceId: TRACE,
      spanId: ID(index),
      parentSpanId: index === 0 ? "" : ID(0),
      name: text,
      kind: 2,
      startTimeUnixNano: String(at),
      endTimeUnixNano: String(at + 5_000_000n),
      attributes: attributes(),
      events: [{ name: text, timeUnixNano: String(at), attributes: attributes() }],
      status: { code: 2, message: text },
    };
    const scopeSpans = [{ scope, spans: [span] }];
    await server.send("/v1/traces", { resourceSpans: [{ resource: resource(text), scopeSpans }] });
    const dataPoints = [{ timeUnixNano: now(), asDouble: index, attributes: attributes() }];
    const metrics = [
      { name: text, description: text, unit: text, gauge: { dataPoints } },
      { name: "needle", description: text, gauge: { dataPoints } },
    ];
    const scopeMetrics = [{ scope, metrics }];
    await server.send("/v1/metrics", {
      resourceMetrics: [{ resource: resource(text), scopeMetrics }],
    });
    // What was dropped, and why, stands on a page too.
    const late = { timeUnixNano: String(BigInt(now()) + 10n ** 16n), body: value(text) };
    const dropped = [{ scope, logRecords: [late] }];
    await server.send("/v1/logs", {
      resourceLogs: [{ resource: resource(text), scopeLogs: dropped }],
    });
  }
}

/** Runs in the page, before anything of it: notes what data should never become. */
function guard() {
  globalThis.grown = [];
  const suspicious = (node) => {
    if (!(node instanceof Element)) return;
    for (const one of [node, ...node.querySelectorAll("*")]) {
      const handler = [...one.attributes].find((attribute) => /^on/i.test(attribute.name));
      const address = one.getAttribute("href") ?? one.getAttribute("src") ?? "";
      const strange = /^(iframe|object|embed|math|base)$/i.test(one.localName);
      const script = one.localName === "script" && !one.src.startsWith(location.origin);
      if (handler || strange || script || /^\s*javascript:/i.test(address)) {
        const told = [...one.attributes].map(({ name, value }) => `${name}=${value}`);
        globalThis.grown.push(`${one.localName} ${told.join(" ")}`);
      }
    }
  };
  new MutationObserver((changes) => {
    for (const change of changes) {
      change.addedNodes.forEach(suspicious);
      if (change.type === "attributes") suspicious(change.target);
    }
  }).observe(document, { childList: true, subtree: true, attributes: true });
}

before(async () => {
  server = await serve();
  await fill();
  browser = await playwright.launch({ executablePath, args: ["--no-sandbox"] });
  context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  context.setDefaultTimeout(SOON_MS);
  await context.addInitScript(guard);
  page = await context.newPage();
  page.on("dialog", (dialog) => {
    dialogs.push(dialog.message());
    void dialog.dismiss();
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => {
    // A policy that had to step in means that markup was made of data.
    if (/Content Security Policy/.test(message.text())) complaints.push(message.text());
  });
});

after(async () => {
  await browser?.close();
  await server?.end();
});

/** Nothing ran, and nothing stands in the document that could. */
async function harmless(where) {
  await page.waitForTimeout(SETTLE_MS);
  assert.deepEqual(dialogs, [], `${where}: a dialog`);
  assert.deepEqual(complaints, [], `${where}: the console`);
  assert.deepEqual(await page.evaluate(() => globalThis.grown), [], `${where}: the document`);
}

async function visit(path, wanted) {
  await page.goto(server.page + path);
  await page.locator("h1").first().waitFor();
  if (wanted) await page.locator(wanted).first().waitFor();
  await harmless(path);
}

const query = (text) => encodeURIComponent(text);

test("pages that list what there is show names as text", async () => {
  for (const path of ["/", "/ingest", "/traces", "/logs", "/graph"]) await visit(path);
  await page.goto(`${server.page}/ingest`);
  await page.getByText("<img src=x onerror=alert(2)>").first().waitFor();
});

test("a trace of hostile spans opens, and so does each of its spans", async () => {
  await visit(`/id/${TRACE}`, ".row.span");
  for (const index of [0, 1, 2, 3, 10]) {
    const chosen = query(`${TRACE}/${ID(index)}`);
    await visit(`/id/${TRACE}?sel=${chosen}&details=1`, ".row.span");
  }
});

test("lines, labels and fields of hostile logs are text", async () => {
  await visit(`/logs?q=${query('{service_name=~".+"} |= "needle"')}`, ".line");
  for (const key of ["j", "j", "Enter", "j"]) {
    await page.keyboard.press(key);
    await harmless(`after ${key}`);
  }
});

test("series with hostile names and labels are text", async () => {
  for (const text of ["needle", '{__name__=~".+"}', 'sum by ("__proto__") (needle)']) {
    await visit(`/graph?q=${query(text)}`);
  }
});

test("what somebody puts into an address is text as well", async () => {
  for (const text of CORPUS) {
    const part = query(text);
    for (const path of [`/id/${part}`, `/logs?q=${part}`]) await visit(path);
    await visit(`/graph?q=${part}&from=${part}&to=${part}&sel=${part}`);
  }
});

test("answers of the APIs can not be taken for a page", async () => {
  for (const path of [
    `/api/v1/query?query=${query("<script>alert(1)</script>")}`,
    `/loki/api/v1/query_range?query=${query("<img src=x onerror=alert(1)>")}`,
    `/tercet/api/v1/lookup/${query("<svg onload=alert(1)>")}`,
    `/api/traces/${query("<svg onload=alert(1)>")}`,
    `/nowhere/${query("<svg onload=alert(1)>")}`,
  ]) {
    const answer = await fetch(server.page + path);
    const kind = answer.headers.get("content-type") ?? "";
    const body = await answer.text();
    assert.ok(
      !kind.startsWith("text/html") || !/<(svg|img|script>alert)/.test(body),
      `${path}: ${kind}`,
    );
  }
});
