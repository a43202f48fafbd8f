// The page as people use it: the binary serves it, the demo feeds it, Chromium looks at it.
// Run by `npm run test:browser`; TERCET_BIN names the binary, CHROMIUM the browser.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, afterEach, before, test } from "node:test";

import { chromium as playwright } from "playwright-core";

import { chromium, demo, reader, serve } from "./server.mjs";

const executablePath = chromium();
if (!executablePath) {
  process.stdout.write("SKIPPED browser: no chromium is installed (apt install chromium)\n");
  process.exit(0);
}

/** For what the server does in its own time. Units: ms. */
const SOON_MS = 20_000;
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core"), "utf8");
const RULES = ["wcag2a", "wcag2aa", "wcag21aa", "best-practice"];
const BIG = "aa".repeat(16);
const CUT = "bb".repeat(16);

let server, shop, browser, context, page, failedTrace;
/** What the console said that it should not. */
const complaints = [];

function watch(seen) {
  // A query that is wrong on purpose is answered with 400, and the console says so.
  const wanted = (text) => /Failed to load resource.* 400 /.test(text);
  seen.on("console", (message) => {
    const bad = ["error", "warning"].includes(message.type());
    if (bad && !wanted(message.text())) complaints.push(message.text());
  });
  seen.on("pageerror", (error) => complaints.push(String(error)));
}

const now = () => BigInt(Date.now()) * 1_000_000n;
const resource = (service) => ({
  attributes: [{ key: "service.name", value: { stringValue: service } }],
});
const spansOf = (service, spans) => ({
  resourceSpans: [{ resource: resource(service), scopeSpans: [{ spans }] }],
});
const span = (traceId, id, parent, startNs, endNs) => ({
  traceId,
  spanId: id.toString(16).padStart(16, "0"),
  parentSpanId: parent === 0 ? "" : parent.toString(16).padStart(16, "0"),
  name: `op-${id}`,
  kind: 2,
  startTimeUnixNano: String(startNs),
  endTimeUnixNano: String(endNs),
});

/** Types into the one search box, as a person would. */
async function ask(text) {
  await page.keyboard.press("/");
  await page.keyboard.type(text);
  await page.keyboard.press("Enter");
}

const texts = (selector) => page.locator(selector).allInnerTexts();

/** Presses a button until what it brings is there. */
async function until(selector, button) {
  const end = Date.now() + SOON_MS;
  for (;;) {
    try {
      return await page.locator(selector).first().waitFor({ timeout: 1500 });
    } catch (error) {
      if (Date.now() > end) throw error;
      await page.getByRole("button", { name: button, exact: true }).click();
    }
  }
}

/** How many pixels of a canvas are painted now. */
const count = (selector) =>
  page
    .locator(selector)
    .first()
    .evaluate((canvas) => {
      // Of a copy: Chromium warns of a canvas on screen that is read again and again.
      const copy = new OffscreenCanvas(canvas.width, canvas.height);
      const context = copy.getContext("2d", { willReadFrequently: true });
      context.drawImage(canvas, 0, 0);
      const all = context.getImageData(0, 0, canvas.width, canvas.height).data;
      let count = 0;
      for (let at = 3; at < all.length; at += 4) if (all[at] > 0) count += 1;
      return count;
    });

/** Whether more than `least` pixels of a canvas are painted: now, or soon, for it is drawn late. */
async function painted(selector, least) {
  const end = Date.now() + SOON_MS;
  while ((await count(selector)) <= least) {
    if (Date.now() > end) return false;
    await new Promise((done) => setTimeout(done, 50));
  }
  return true;
}

async function lookup(id) {
  return (await fetch(`${server.page}/tercet/api/v1/lookup/${id}`)).json();
}

before(async () => {
  server = await serve();
  browser = await playwright.launch({ executablePath, args: ["--no-sandbox"] });
  context = await browser.newContext({
    viewport: { width: 1280, height: 800 },
    permissions: ["clipboard-read", "clipboard-write"],
  });
  context.setDefaultTimeout(SOON_MS);
  page = await context.newPage();
  watch(page);
});

after(async () => {
  await browser?.close();
  await shop?.end();
  await server?.end();
});

afterEach(() => {
  assert.deepEqual(complaints.splice(0), [], "the console is silent, so no policy was violated");
});

test("the empty page says how to send, and comes alive with the first bytes", async () => {
  await page.goto(server.page);
  await page.getByText("Waiting for the first bytes").waitFor();
  await page.getByText(`tercet demo --to ${server.otlp}`).waitFor();
  shop = await demo(server.otlp);
  await page.getByText("Receiving").waitFor();
  await page.getByRole("link", { name: "traces of web" }).waitFor();
  await page.getByRole("link", { name: "logs of payments" }).waitFor();
  failedTrace = await shop.failed();
});

test("a pasted ID shows spans and log lines in time order, and the verdict", async () => {
  const found = await lookup(failedTrace);
  await ask(failedTrace);
  await page.locator(".row.span").first().waitFor();
  assert.match(await page.locator(".verdict").innerText(), /^Complete\s/);
  assert.equal(await page.locator(".row.span").count(), found.spans.length);
  assert.equal(await page.locator(".row.log").count(), found.logs.length);
  const times = await texts(".rows .t");
  assert.deepEqual(times, [...times].sort());
  const rows = await texts(".rows .n");
  const place = (text) => rows.findIndex((row) => row.includes(text));
  assert.ok(place("PlaceOrder") < place("start pay order"));
  assert.ok(place("start pay order") < place("Charge"));
  assert.ok(place("Charge") < place("card gateway timeout after 1200ms"));
  assert.ok(await painted(".bars", 1000), "bars are drawn");
  assert.ok(await painted(".mini", 500), "the minimap is drawn");
});

test("the keyboard moves, opens, hides and copies; a reload gives the same view", async () => {
  for (const key of ["j", "j", "Enter", "l", "p"]) await page.keyboard.press(key);
  const chosen = page.locator(".row.sel");
  assert.match(await chosen.innerText(), /checkout\s+PlaceOrder/);
  const details = page.getByRole("complementary", { name: "Details" });
  assert.match(await details.innerText(), /x-correlation-id\s+ord-/);
  assert.equal(await page.locator(".row.log").count(), 0);
  await page.keyboard.press("y");
  await page.getByText("link copied").waitFor();
  const link = await page.evaluate(() => navigator.clipboard.readText());
  const seen = async () => [
    await texts(".rows .n"),
    await chosen.innerText(),
    await details.innerText(),
    await page.getByRole("button", { name: "critical path" }).getAttribute("aria-pressed"),
  ];
  const first = await seen();
  await page.goto("about:blank");
  await page.goto(link);
  await chosen.waitFor();
  assert.deepEqual(await seen(), first);
  await page.keyboard.press("?");
  await page.getByRole("dialog", { name: "Keys" }).waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await page.keyboard.press("l");
  await page.keyboard.press("e");
  assert.match(await chosen.innerText(), /Charge|timeout|card-gateway/);
  await page.getByRole("button", { name: "copy text" }).click();
  await page.getByText("text copied").waitFor();
  const told = await page.evaluate(() => navigator.clipboard.readText());
  assert.match(told, /web POST \/checkout .* ERROR[^]*ERROR payments card gateway timeout/);
});

test("a span ID and a correlation ID lead to the same story", async () => {
  const { spans } = await lookup(failedTrace);
  const [, correlation] = spans[0].attributes.find(([key]) => key === "x-correlation-id");
  for (const id of [spans[2].spanId, correlation]) {
    await ask(id);
    await page.locator(".head", { hasText: id }).waitFor();
    assert.equal(await page.locator(".row.span").count(), spans.length, id);
  }
});

test("an ID that nothing carries is said to be absent, with the next step", async () => {
  await ask("00f067aa0ba902b7");
  await page.getByRole("heading", { name: "Nothing carries this ID" }).waitFor();
  await page.getByRole("link", { name: "what was dropped and why" }).waitFor();
});

test("a parent that never arrived is in the verdict and in the waterfall", async () => {
  const at = now();
  await server.send("/v1/traces", spansOf("cut", [span(CUT, 3, 2, at, at + 1_000_000n)]));
  await ask(CUT);
  await page.locator(".row.missing").waitFor();
  assert.match(await page.locator(".verdict").innerText(), /^Nearly complete\s[^]*never arrived/);
});

test("a PromQL query draws a graph, and a reload draws it again", async () => {
  await ask('sum by (job) (shop_orders_total{job="shop/checkout"})');
  for (const again of [false, true]) {
    if (again) await page.reload();
    await until(".graph canvas", "run again");
    const row = await page.locator("tbody tr").first().innerText();
    assert.match(row, /\{job="shop\/checkout"\}\s+[\d.]+k?\s+[\d.]+k?/);
    assert.ok(await painted(".graph canvas", 500), "the graph is drawn");
  }
  await ask("rate(");
  const told = await page.getByRole("alert").innerText();
  assert.match(told, /parse error: unclosed left parenthesis/);
});

test("a LogQL query lists lines with their volume, and a line leads to its trace", async () => {
  await ask('{service_name="payments"} |= "timeout"');
  await until(".line", "run again");
  for (const line of await texts(".line")) assert.match(line, /ERROR[^]*card gateway timeout/);
  assert.ok(await painted(".volume", 20), "the volume is drawn");
  await page.keyboard.press("j");
  await page.getByRole("link", { name: "open its trace" }).click();
  await page.locator(".row.log", { hasText: "card gateway timeout" }).waitFor();
  await ask('sum(count_over_time({service_name=~".+"}[1m]))');
  await until(".graph canvas", "run again");
});

test("plain words find the lines that hold them all", async () => {
  await ask("gateway timeout");
  await until(".line", "run again");
  for (const line of await texts(".line")) assert.match(line, /gateway timeout/);
});

test("who has no ID finds a trace by its service", async () => {
  await page.getByRole("link", { name: "Traces" }).click();
  await page.getByLabel("Service").selectOption("web");
  await page.getByRole("button", { name: "errors only" }).click();
  await page.locator(".traces .pill.E").first().waitFor();
  await page.locator(".traces tbody a").first().click();
  await page.locator(".row.span", { hasText: "POST /checkout" }).waitFor();
});

test("a dropped record stands on the page with its reason", async () => {
  const day = 86_400_000_000_000n;
  const record = { timeUnixNano: String(now() + 30n * day), body: { stringValue: "from later" } };
  const scopeLogs = [{ logRecords: [record] }];
  await server.send("/v1/logs", { resourceLogs: [{ resource: resource("late"), scopeLogs }] });
  await page.getByRole("link", { name: "Ingest" }).click();
  await page.getByRole("cell", { name: "too_far_in_future" }).first().waitFor();
  await page.getByText("ahead of this server's clock").waitFor();
});

test("five thousand spans are a few rows of the document, and the last can be reached", async () => {
  const start = now();
  const spans = Array.from({ length: 5000 }, (_, index) => {
    const at = start + BigInt(index) * 1_000_000n;
    return span(BIG, index + 1, Math.ceil(index / 3), at, at + 5_000_000n);
  });
  await server.send("/v1/traces", spansOf("big", spans));
  await ask(BIG);
  await page.locator(".head", { hasText: "5,000 spans" }).waitFor();
  const rows = page.locator(".rows .row");
  assert.ok((await rows.count()) < 120);
  await page.evaluate(() => window.scrollTo(0, document.documentElement.scrollHeight));
  const height = await page.locator(".rows").evaluate((list) => list.offsetHeight / 25);
  await page.locator(`#row-${height - 1}`).waitFor();
  assert.ok((await rows.count()) < 120);
});

test("every page fits a phone and a desk, dark and light, for everybody", async () => {
  const { spans } = await lookup(failedTrace);
  const chosen = encodeURIComponent(`${failedTrace}/${spans[1].spanId}`);
  const metric = encodeURIComponent("rate(shop_checkout_duration_seconds_bucket[1m])");
  const paths = [
    "/",
    `/id/${failedTrace}?sel=${chosen}&details=1`,
    `/id/${CUT}`,
    "/id/nothing-42",
    "/traces",
    "/logs",
    "/graph",
    `/graph?q=${metric}&from=now-15m`,
    "/ingest",
    "/nowhere",
  ];
  for (const width of [1280, 390]) {
    for (const colorScheme of ["dark", "light"]) {
      const other = await browser.newContext({ viewport: { width, height: 844 }, colorScheme });
      const tab = await other.newPage();
      watch(tab);
      for (const path of paths) {
        const where = `${path} ${width} ${colorScheme}`;
        await tab.goto(server.page + path);
        await tab.locator("h1").waitFor();
        await tab.waitForLoadState("networkidle").catch(() => undefined);
        const wide = await tab.evaluate(
          () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
        );
        assert.equal(wide, 0, `${where} is wider than the screen`);
        await tab.evaluate(AXE);
        const { violations } = await tab.evaluate(
          (rules) => globalThis.axe.run(document, { runOnly: rules }),
          RULES,
        );
        const told = violations.map((one) => `${one.id}: ${one.nodes[0].html}`);
        assert.deepEqual(told, [], where);
      }
      await other.close();
    }
  }
});

test("behind a password the page asks, and works for whoever knows it", async () => {
  const closed = await serve(reader("ann", "right"));
  const open = async (httpCredentials, status) => {
    const other = await browser.newContext({ httpCredentials });
    const tab = await other.newPage();
    const said = [];
    tab.on("console", (message) => said.push(message.text()));
    const answered = tab.waitForResponse(
      (answer) => answer.url().includes("/tercet/api/v1/ingest") && answer.status() === status,
    );
    await tab.goto(`${closed.page}/ingest`);
    await answered;
    const refused = tab.getByText("these credentials are not known here").first();
    await refused.waitFor({ state: status === 401 ? "visible" : "detached" });
    await other.close();
    return said.filter((text) => !text.includes("401"));
  };
  assert.deepEqual(await open({ username: "ann", password: "wrong" }, 401), []);
  assert.deepEqual(await open({ username: "ann", password: "right" }, 200), []);
  await closed.end();
});

test("a server that is gone is said to be", async () => {
  await page.goto(`${server.page}/ingest`);
  await page.getByRole("heading").first().waitFor();
  page.removeAllListeners("console");
  await shop.end();
  await server.end();
  await page.getByText("the server does not answer; is it running?").waitFor();
});
