// Delayed records: seen with the time that is left, cancelled, moved, delivered now, held.

import { eventually, go, id, must, run } from "./world.js";

export async function all(world) {
  await run("delayed/list", () => list(world));
  await run("delayed/cancel", () => cancel(world));
  await run("delayed/move", () => move(world));
  await run("delayed/pause", () => pause(world));
  await run("delayed/cancel-all", () => cancelAll(world));
  await run("delayed/never", () => never(world));
}

/** Until the record that is cancelled would be delivered. */
const DUE_MS = 25_000;
let due = 0;

const rows = (page) => page.locator('[data-testid="pending"] tbody tr.pick');
const delivered = (broker) => broker.kcat(["-C", "-t", "reminders", "-p", "0", "-o", "beginning", "-e", "-f", "%s\n"]);

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
  must((await id(page, "tile-pending").textContent()).includes("4"), "four are pending");
  await rows(page).filter({ hasText: "keep me" }).click();
  await eventually("it is looked at", async () => (await id(page, "detail").textContent()).includes("delay-ms"));
  await browser.shot(page, "delayed", { fullPage: true });
}

async function cancel({ page }) {
  await rows(page).filter({ hasText: "cancel me" }).locator('[data-testid="cancel"]').click();
  must((await id(page, "curl").textContent()).includes("-X DELETE"), "the curl line");
  await id(page, "do").click();
  await eventually("it is gone", async () => (await rows(page).filter({ hasText: "cancel me" }).count()) === 0);
}

/** What was cancelled does not come when it would have been due. */
async function never({ broker }) {
  await new Promise((resolve) => setTimeout(resolve, Math.max(0, due + 1000 - Date.now())));
  must(!delivered(broker).includes("cancel me"), "it was delivered all the same");
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
  await id(page, "refresh-pending").click();
  await rows(page).filter({ hasText: "at once" }).locator('[data-testid="deliver-now"]').click();
  await id(page, "do").click();
  await eventually("it is delivered now", async () => delivered(broker).includes("at once"));
}

async function pause({ page, broker, browser }) {
  await id(page, "pause-reminders").click();
  await id(page, "do").click();
  await eventually("it is paused", async () => (await id(page, "delay-topics").textContent()).includes("paused"));
  broker.kcat(["-P", "-t", "reminders", "-k", "held", "-H", "delay-ms=500"], "held");
  await eventually("it is overdue", async () => {
    await id(page, "refresh-pending").click();
    return (await id(page, "pending").textContent()).includes("overdue");
  });
  await browser.shot(page, "delayed-paused");
  must(!delivered(broker).includes("held"), "it was delivered all the same");
  await id(page, "pause-reminders").click();
  await id(page, "do").click();
  await eventually("it is delivered", async () => delivered(broker).includes("held"));
}
