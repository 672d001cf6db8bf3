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
  await run("keyboard", () => keyboard(world));
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
    if (look !== "phone") found.push(...(await axe(page, look)).map((one) => `${name}: ${one}`));
    const wide = (await page.evaluate(() => document.documentElement.scrollWidth)) - page.viewportSize().width;
    must(wide <= 0, `${name} is ${wide} px too wide`);
  }
  await page.context().close();
  must(found.length === 0, found.join("\n"));
  return `${PAGES.length} pages`;
}

/** What axe calls serious or critical. In the dark only colours differ. */
async function axe(page, look) {
  await page.evaluate(AXE);
  const rules = look === "dark" ? { runOnly: { type: "rule", values: ["color-contrast", "link-in-text-block"] } } : {};
  const violations = await page.evaluate(async (some) => (await window.axe.run(document, { resultTypes: ["violations"], ...some })).violations, rules);
  const serious = violations.filter((one) => ["serious", "critical"].includes(one.impact));
  return serious.map((one) => `${one.id}: ${one.help}: ${one.nodes.slice(0, 3).map((node) => `${node.html} ${node.failureSummary}`).join(" | ")}`);
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
