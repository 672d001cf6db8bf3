// How the pages look and whether everybody can use them: axe on every page, light and dark, on a phone, by keyboard.

import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

import { eventually, go, id, must, run } from "./world.js";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const PAGES = [
  ["overview", "#/"],
  ["topics", "#/topics"],
  ["topic", "#/topics/orders"],
  ["topic-partitions", "#/topics/orders/partitions"],
  ["topic-produce", "#/topics/orders/produce"],
  ["topic-settings", "#/topics/orders/settings"],
  ["topic-consumers", "#/topics/invoices/consumers"],
  ["groups", "#/groups"],
  ["group", "#/groups/billing"],
  ["delayed", "#/delayed"],
  ["connections", "#/connections"],
  ["storage", "#/storage?topic=large&partition=0"],
  ["config", "#/config"],
  ["logs", "#/logs"],
];
const LOOKS = [
  ["light", { colorScheme: "light" }],
  ["dark", { colorScheme: "dark" }],
  ["phone", { colorScheme: "light", viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true }],
];

export async function all(world) {
  for (const [name, options] of LOOKS) await run(`looks/${name}`, () => looks(world, name, options));
  await run("looks/dialogs", () => dialogs(world));
  await run("touch", () => touch(world));
  await run("keyboard", () => keyboard(world));
  await run("keyboard/redrawn", () => redrawn(world));
  await run("theme", () => theme(world));
}

async function looks({ broker, browser }, look, options) {
  const page = await browser.page(broker, options);
  const found = [];
  for (const [name, hash] of PAGES) {
    await go(page, hash);
    await page.locator("main h1").waitFor();
    await eventually("it is drawn", async () => (await page.locator("main .tiles, main table, main form, main .log, main canvas").count()) > 0);
    // What was asked for is there by now; streams never end.
    await page.waitForTimeout(350);
    await browser.shot(page, `${look}-${name}`, { fullPage: name !== "config" });
    found.push(...(await axe(page, look)).map((one) => `${name}: ${one}`));
    found.push(...(await outside(page)).map((one) => `${name}: ${one} is not to be seen`));
    const wide = (await page.evaluate(() => document.documentElement.scrollWidth)) - page.viewportSize().width;
    must(wide <= 0, `${name} is ${wide} px too wide`);
  }
  await page.context().close();
  must(found.length === 0, found.join("\n"));
  return `${PAGES.length} pages`;
}

/** What lies beside the window: nobody scrolls a table to the side to find its last column. */
export const outside = (page) =>
  page.evaluate(() => {
    const parts = [...document.querySelectorAll("main td, main th, main button, main .tile")].filter((one) => one.getClientRects().length > 0 && !one.closest(".hex, .payload, .tabs, pre"));
    const beside = parts.filter((one) => one.getBoundingClientRect().right > innerWidth + 1);
    return beside.slice(0, 3).map((one) => `${one.tagName} "${one.textContent.slice(0, 40)}"`);
  });

/** What axe calls serious or critical. In the dark only colours differ. */
export async function axe(page, look) {
  await page.evaluate(AXE);
  const rules = look === "dark" ? { runOnly: { type: "rule", values: ["color-contrast", "link-in-text-block"] } } : {};
  const violations = await page.evaluate(async (some) => (await window.axe.run(document, { resultTypes: ["violations"], ...some })).violations, rules);
  const serious = violations.filter((one) => ["serious", "critical"].includes(one.impact));
  return serious.map((one) => `${one.id}: ${one.help}: ${one.nodes.slice(0, 3).map((node) => `${node.html} ${node.failureSummary}`).join(" | ")}`);
}

/** Where each dialog is opened, and what else is not there at rest. */
const DIALOGS = [
  ["create", "#/topics", '[data-testid="create-topic"]'],
  ["record", "#/topics/orders", '[data-testid="messages"] tbody tr.pick'],
  ["empty", "#/topics/orders", '[data-testid="empty-topic"]'],
  ["delete", "#/topics/orders", '[data-testid="delete-topic"]'],
  ["delete-records", "#/topics/orders/partitions", '[data-testid="partitions"] .danger'],
  ["setting", "#/topics/orders/settings", '[data-testid="edit-retention.ms"]'],
  ["moves", "#/groups/billing", '[data-testid="reset"]'],
  ["reschedule", "#/delayed?topic=reminders", '[data-testid="reschedule"]'],
  ["level", "#/logs", '[data-testid="set-level"]'],
  ["goto", "#/", "#goto"],
];

/** axe over what opens; each dialog that changes something shows its curl line. */
async function dialogs({ broker, browser }) {
  const page = await browser.page(broker);
  const found = [];
  for (const [name, hash, opener] of DIALOGS) {
    await go(page, "#/");
    await go(page, hash);
    await page.locator(`${opener}:not(:disabled)`).first().click();
    if (name === "create") await id(page, "field-name").fill("another");
    if (name === "moves") {
      await id(page, "dry-run").click();
      await id(page, "moves").waitFor();
    }
    await page.locator('dialog[open], [data-testid="detail"]').first().waitFor();
    found.push(...(await axe(page, "light")).map((one) => `${name}: ${one}`));
    const changes = (await page.locator('dialog[open] [data-testid="do"]').count()) > 0;
    if (changes && !/^(for|curl) /.test(await id(page, "curl").textContent())) found.push(`${name}: no curl line`);
    await page.keyboard.press("Escape");
  }
  await page.context().close();
  must(found.length === 0, found.join("\n"));
}

/** With a finger: the menu, a record, and a topic that is made and deleted. */
async function touch({ broker, browser }) {
  const page = await browser.page(broker, LOOKS.find(([name]) => name === "phone")[1]);
  await page.locator("#menu").tap();
  await browser.shot(page, "phone-menu");
  await page.locator("#nav").getByText("Topics", { exact: true }).tap();
  await id(page, "create-topic").tap();
  await id(page, "field-name").fill("by-a-finger");
  await browser.shot(page, "phone-create");
  await id(page, "do").tap();
  await page.locator('[data-testid="topics"] tr[data-key="by-a-finger"]').waitFor();
  await page.locator('[data-testid="topics"] tr[data-key="orders"] a').tap();
  await page.locator('[data-testid="messages"] tbody tr.pick').first().tap();
  await id(page, "detail").waitFor();
  await browser.shot(page, "phone-record", { fullPage: true });
  await go(page, "#/topics/by-a-finger");
  await id(page, "delete-topic").tap();
  await id(page, "field-confirm").fill("by-a-finger");
  await id(page, "do").tap();
  await eventually("it is deleted", async () => (await broker.api("GET", "/v1/topics/by-a-finger")).status === 404);
  await page.context().close();
}

/** Everything by keys: the way to a topic, a record, a dialog and back. */
async function keyboard({ broker, browser }) {
  const page = await browser.page(broker);
  await page.locator("main h1").waitFor();
  await page.keyboard.press("Tab");
  must((await page.evaluate(() => document.activeElement.id)) === "skip", "the first stop leads to the content");
  await page.keyboard.press("Enter");
  must((await page.evaluate(() => document.activeElement.id)) === "main", "it does not");
  await page.keyboard.press("/");
  await id(page, "goto").waitFor();
  await page.keyboard.type("order");
  await page.locator("#goto-list li", { hasText: "orders" }).waitFor();
  await browser.shot(page, "goto");
  await page.keyboard.press("Enter");
  await eventually("the topic is shown", async () => (await page.title()).startsWith("orders"));
  const row = page.locator('[data-testid="messages"] tbody tr.pick').first();
  await row.waitFor();
  await row.focus();
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  await id(page, "detail").waitFor();
  await page.keyboard.press("Enter");
  await eventually("it is closed", async () => (await id(page, "detail").count()) === 0);
  const button = id(page, "delete-topic");
  await button.focus();
  await page.keyboard.press("Enter");
  await id(page, "dialog").waitFor();
  await page.keyboard.press("Escape");
  await eventually("the dialog is closed", async () => (await id(page, "dialog").count()) === 0);
  must(await button.evaluate((one) => one === document.activeElement), "the keyboard is where it was");
  // A topic is made without a mouse, and the keyboard is where it was again.
  await go(page, "#/topics");
  const create = id(page, "create-topic");
  await create.focus();
  await page.keyboard.press("Enter");
  await id(page, "dialog").waitFor();
  await page.keyboard.type("by-the-keyboard");
  await page.keyboard.press("Enter");
  await page.locator('[data-testid="topics"] tr[data-key="by-the-keyboard"]').waitFor();
  await eventually("the keyboard is where it was again", () => create.evaluate((one) => one === document.activeElement));
  await broker.api("DELETE", "/v1/topics/by-the-keyboard");
  await page.context().close();
}

/** The keyboard comes back to its row, which was drawn anew behind the dialog, and to the table where the row is gone. */
async function redrawn({ broker, browser }) {
  const [goes, stays] = ["goes", "stays"].map((name) => broker.kcatRuns(["-C", "-t", "orders", "-o", "end", "-X", `client.id=it-${name}`]));
  const page = await browser.page(broker);
  await go(page, "#/connections");
  const rows = (name) => page.locator('[data-testid="connections"] tbody tr', { hasText: `it-${name}` });
  await rows("stays").first().waitFor();
  const key = await rows("goes").first().getAttribute("data-key");
  await page.locator(`tr[data-key="${key}"] button`).focus();
  const where = () => page.evaluate(() => [document.activeElement.closest("tr")?.dataset.key, document.activeElement.textContent]);
  const opened = async () => {
    const button = await page.evaluateHandle(() => document.activeElement);
    await page.keyboard.press("Enter");
    await id(page, "dialog").waitFor();
    await eventually("the rows are drawn anew", async () => !(await button.evaluate((one) => one.isConnected)));
  };
  const closed = async () => {
    await page.keyboard.press("Escape");
    await eventually("the dialog is closed", async () => (await id(page, "dialog").count()) === 0);
  };
  await opened();
  await closed();
  must(String(await where()) === `${key},End…`, `the keyboard is at ${await where()}`);
  await opened();
  goes.kill("SIGTERM");
  await eventually("the row is gone", async () => (await rows("goes").count()) === 0);
  await closed();
  must(await id(page, "connections").evaluate((one) => one === document.activeElement), `the keyboard is at ${await where()}`);
  await go(page, "#/topics/orders/settings");
  await id(page, "edit-retention.ms").focus();
  await opened();
  await closed();
  must(await id(page, "edit-retention.ms").evaluate((one) => one === document.activeElement), `the keyboard is at ${await where()}`);
  stays.kill("SIGTERM");
  await page.context().close();
}

async function theme({ broker, browser }) {
  const page = await browser.page(broker);
  const back = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await back();
  await page.locator("#theme").click();
  must((await back()) !== light, "it is as light as before");
  const dark = await back();
  await page.reload();
  must((await back()) === dark, "it is forgotten");
  await page.locator("#theme").click();
  must((await back()) === light, "it is not light again");
  await page.context().close();
}
