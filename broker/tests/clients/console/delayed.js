// Delayed records: seen with the time that is left, cancelled, moved, delivered now, held.

import { eventually, go, id, local, must, run, shell } from "./world.js";

export async function all(world) {
  await run("delayed/list", () => list(world));
  await run("delayed/cancel", () => cancel(world));
  await run("delayed/countdown", () => countdown(world));
  await run("delayed/later", () => later(world));
  await run("delayed/move", () => move(world));
  await run("delayed/pause", () => pause(world));
  await run("delayed/filters", () => filters(world));
  await run("delayed/cancel-all", () => cancelAll(world));
  await run("delayed/never", () => never(world));
}

/** Until the record that is cancelled would be delivered. */
const DUE_MS = 25_000;
let due = 0;

const rows = (page) => page.locator('[data-testid="pending"] tbody tr.pick');
const delivered = (broker) => broker.kcat(["-C", "-t", "reminders", "-p", "0", "-o", "beginning", "-e", "-f", "%s\n"]);

const figure = (page, name) => id(page, name).locator(".value").textContent();
const barsSum = async (page) => {
  const figures = await id(page, "bars").locator(".one > span:first-child").allTextContents();
  return figures.reduce((sum, one) => sum + Number(one || 0), 0);
};

async function list({ page, broker, browser }) {
  const made = await broker.api("POST", "/v1/topics", { name: "reminders", partitions: 1, configs: { "delay.mode": "both" } });
  must(made.status < 300, JSON.stringify(made));
  due = Date.now() + DUE_MS;
  for (const [text, ms] of [["cancel me", DUE_MS], ["keep me", 3_600_000], ["move me", 86_400_000], ["at once", 7_200_000]]) {
    broker.kcat(["-P", "-t", "reminders", "-k", text, "-H", `delay-ms=${ms}`], text);
  }
  await go(page, "#/delayed");
  await eventually("they are listed", async () => (await rows(page).count()) === 4);
  await id(page, "bars").waitFor();
  must((await figure(page, "tile-pending")) === "4", "four are pending");
  // What is told is of one moment: the bars are what is pending, and the next one is the first of the list.
  await eventually("the bars tell of all", async () => (await barsSum(page)) === 4);
  await eventually("the next one is the first of the list", async () => {
    const [next, first] = [await id(page, "tile-next").locator(".more").textContent(), await rows(page).first().locator("td").first().textContent()];
    return first.includes(next);
  });
  await rows(page).filter({ hasText: "keep me" }).click();
  await eventually("it is looked at", async () => (await id(page, "detail").textContent()).includes("delay-ms"));
  await browser.shot(page, "delayed", { fullPage: true });
}

async function cancel({ page, broker, browser }) {
  await rows(page).filter({ hasText: "keep me" }).click();
  await rows(page).filter({ hasText: "cancel me" }).locator('[data-testid="cancel"]').click();
  must((await id(page, "curl").textContent()).includes("-X DELETE"), "the curl line");
  await id(page, "do").click();
  await eventually("it is gone", async () => (await rows(page).filter({ hasText: "cancel me" }).count()) === 0);
  await eventually("it is not counted any more", async () => (await figure(page, "tile-pending")) === "3" && (await barsSum(page)) === 3);
  must((await page.evaluate(() => document.activeElement.closest("main")?.id)) === "main", "the keyboard is lost with the row");
  await browser.shot(page, "delayed-cancelled", { fullPage: true });
  // All records of a batch that is due as a whole.
  broker.kcat(["-P", "-t", "reminders", "-H", `delay-until=${Date.now() + 80_000_000}`, "-X", "linger.ms=500"], "one\ntwo\nthree");
  const three = rows(page).filter({ hasText: "3 records" });
  await three.waitFor();
  await eventually("each of them is pending", async () => (await figure(page, "tile-pending")) === "6");
  await three.locator('[data-testid="cancel"]').click();
  await id(page, "do").click();
  await eventually("none of them is counted any more", async () => (await figure(page, "tile-pending")) === "3");
}

/** Nobody touches the page: a record comes into the list, its time falls, and when it is delivered it leaves the list. */
async function countdown({ page, broker }) {
  const soon = rows(page).filter({ hasText: "comes soon" });
  broker.kcat(["-P", "-t", "reminders", "-k", "comes soon", "-H", "delay-ms=12000"], "comes soon");
  await soon.waitFor();
  const left = async () => Number(/in (\d+) s/.exec(await soon.locator("[data-until]").textContent())?.[1]);
  const first = await left();
  must(first <= 12, `${first} s are left`);
  await eventually("its time falls", async () => (await left()) < first);
  const next = async () => Number(/in (\d+) s/.exec(await figure(page, "tile-next"))?.[1]);
  must(Math.abs((await next()) - (await left())) <= 3, "the next one is another");
  await eventually("it leaves the list", async () => (await soon.count()) === 0);
  must(delivered(broker).includes("comes soon"), "it is gone before it is delivered");
  await eventually("it is not pending any more", async () => (await figure(page, "tile-pending")) === "3");
}

/** A record by hand, for after a while: it is listed, and cancelled. */
async function later({ page, broker }) {
  await go(page, "#/topics/reminders/produce");
  await id(page, "field-key").fill("by hand, later");
  await id(page, "field-value").fill("x");
  await id(page, "field-delay").selectOption("after");
  await id(page, "field-after").fill("5h");
  await id(page, "produce").click();
  await eventually("it is taken", async () => (await id(page, "produced").textContent()).length > 0);
  await go(page, "#/delayed?topic=reminders");
  const row = rows(page).filter({ hasText: "by hand, later" });
  await row.waitFor();
  const left = await row.locator("[data-until]").textContent();
  must(/in (5 h|4 h 59 min)/.test(left), left);
  // By the line that the page shows.
  await row.locator('[data-testid="cancel"]').click();
  const line = await id(page, "curl").textContent();
  await page.keyboard.press("Escape");
  must(shell(line).status === 0, line);
  await eventually("it leaves the list", async () => (await row.count()) === 0);
  must((await broker.api("GET", "/v1/delayed/messages?topic=reminders")).body.items.length === 3, "three are left");
}

/** What was cancelled does not come when it would have been due. */
async function never({ broker }) {
  await new Promise((resolve) => setTimeout(resolve, Math.max(0, due + 1000 - Date.now())));
  must(!delivered(broker).includes("cancel me"), "it was delivered all the same");
}

/** In pages, and only what is due until a time, or overdue. */
async function filters({ page, broker }) {
  await broker.api("POST", "/v1/topics", { name: "later", partitions: 1, configs: { "delay.mode": "both" } });
  const lines = (count, text) => Array.from({ length: count }, (_, at) => `${text} ${at}`).join("\n");
  // Records of one batch that are due together are one entry of the list.
  const alone = ["-X", "batch.num.messages=1"];
  broker.kcat(["-P", "-t", "later", ...alone, "-H", "delay-ms=7200000"], lines(55, "in two hours"));
  broker.kcat(["-P", "-t", "later", ...alone, "-H", "delay-ms=1800000"], lines(3, "in half an hour"));
  await go(page, "#/delayed?topic=later");
  await id(page, "delay-topic").selectOption("later");
  await eventually("a page", async () => (await rows(page).count()) === 50);
  await page.getByRole("button", { name: "Next →" }).click();
  await eventually("the rest", async () => (await rows(page).count()) === 8);
  await page.getByRole("button", { name: "← Back" }).click();
  await eventually("the first ones again", async () => (await rows(page).count()) === 50);
  const before = page.getByLabel("Due before");
  await before.fill(await local(page, Date.now() + 3_600_000));
  await eventually("those of the next hour", async () => (await rows(page).count()) === 3);
  await before.fill("");
  await page.getByLabel("Which").selectOption("overdue");
  await id(page, "none-pending").waitFor();
  must((await rows(page).count()) === 0, "none is overdue");
  await page.getByLabel("Which").selectOption("");
  await eventually("all again", async () => (await rows(page).count()) === 50);
  await broker.api("DELETE", "/v1/topics/later");
  await go(page, "#/");
  await go(page, "#/delayed?topic=reminders");
  await id(page, "delay-topic").waitFor();
}

/** All that a filter shows, when their number is typed, and nothing else. */
async function cancelAll({ page, broker, browser }) {
  for (let i = 0; i < 3; i += 1) {
    broker.kcat(["-P", "-t", "reminders", "-k", "batch", "-H", "delay-ms=7200000"], `one of three: ${i}`);
  }
  const pending = async () => (await broker.api("GET", "/v1/delayed/messages?topic=reminders&limit=100")).body.items.length;
  const before = await pending();
  must(before > 3, `others are pending, too: ${before}`);
  const key = page.getByPlaceholder("exact key");
  await key.fill("batch");
  await key.press("Enter");
  await eventually("the three are listed", async () => (await rows(page).count()) === 3);
  await id(page, "cancel-all").click();
  const confirm = id(page, "field-confirm");
  await confirm.waitFor();
  const line = await id(page, "curl").last().textContent();
  must(line.includes("-X DELETE") && line.includes("confirm_count=3") && line.includes("key=batch"), line);
  await confirm.fill("4");
  must(await id(page, "do").isDisabled(), "another number does nothing");
  await confirm.fill("3");
  await browser.shot(page, "delayed-cancel-all");
  await id(page, "do").click();
  await eventually("they are gone", async () => (await pending()) === before - 3);
  await id(page, "none-pending").waitFor();
  await key.fill("");
  await key.press("Enter");
  await eventually("the others are still there", async () => (await rows(page).count()) === before - 3);
}

async function move({ page, broker }) {
  await rows(page).filter({ hasText: "move me" }).locator('[data-testid="reschedule"]').click();
  await id(page, "field-in").fill("1s");
  await id(page, "do").click();
  await eventually("it is delivered when it is due", async () => delivered(broker).includes("move me"));
  await rows(page).filter({ hasText: "at once" }).locator('[data-testid="deliver-now"]').click();
  await id(page, "do").click();
  await eventually("it is delivered now", async () => delivered(broker).includes("at once"));
}

async function pause({ page, broker, browser }) {
  await id(page, "pause-reminders").click();
  await id(page, "do").click();
  await eventually("it is paused", async () => (await id(page, "delay-topics").textContent()).includes("paused"));
  broker.kcat(["-P", "-t", "reminders", "-k", "held", "-H", "delay-ms=500"], "held");
  await eventually("it is overdue", async () => (await id(page, "pending").textContent()).includes("overdue"));
  await browser.shot(page, "delayed-paused");
  must(!delivered(broker).includes("held"), "it was delivered all the same");
  await id(page, "pause-reminders").click();
  await id(page, "do").click();
  await eventually("it is delivered", async () => delivered(broker).includes("held"));
}
