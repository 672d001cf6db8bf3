// Groups: lag rises when their members stop, and offsets move as a dry run said.

import { eventually, go, id, must, run } from "./world.js";

export async function all(world) {
  await run("groups/lag", () => lag(world));
  await run("groups/reset", () => reset(world));
  await run("groups/consumers", () => consumers(world));
}

async function lag({ page, broker, browser }) {
  broker.kcat(["-P", "-t", "invoices", "-p", "0"], Array.from({ length: 100 }, (_, at) => `invoice ${at}`).join("\n"));
  const member = broker.kcatRuns(["-G", "billing", "-X", "auto.offset.reset=earliest", "-X", "auto.commit.interval.ms=100", "-X", "client.id=biller", "invoices"]);
  const told = async () => (await broker.api("GET", "/v1/groups/billing")).body;
  await eventually("it has read everything", async () => (await told()).total_lag === 0 && (await told()).offsets > 0);
  await go(page, "#/groups");
  await page.locator('[data-testid="groups"] tr[data-key="billing"]').click();
  await eventually("it has a member", async () => (await page.getByRole("region", { name: "Members" }).textContent()).includes("biller"));
  await eventually("it is stable", async () => (await id(page, "tile-state").textContent()).includes("Stable"));
  await browser.shot(page, "group");
  member.kill("SIGTERM");
  await new Promise((resolve) => member.once("exit", resolve));
  broker.kcat(["-P", "-t", "invoices", "-p", "0"], Array.from({ length: 250 }, (_, at) => `more ${at}`).join("\n"));
  await eventually("the lag is shown", async () => (await id(page, "tile-lag").textContent()).includes("250"));
  await eventually("and in the chart", async () => (await id(page, "lag-chart").locator(".legend b").first().textContent()) === "250");
  // It had read everything a moment ago: to stand still it needs longer than this waits.
  await eventually("its status is told", async () => (await id(page, "tile-status").textContent()).includes("OK"));
  await browser.shot(page, "group-lag", { fullPage: true });
}

async function reset({ page, broker, browser }) {
  await go(page, "#/groups/billing");
  await eventually("nobody is in it", async () => (await id(page, "tile-state").textContent()).includes("Empty"));
  await id(page, "reset").click();
  await id(page, "field-to").selectOption("shift");
  await id(page, "field-shift").fill("-40");
  await id(page, "dry-run").click();
  await id(page, "moves").waitFor();
  const row = await id(page, "moves").locator("tbody tr", { hasText: "-40" }).textContent();
  must(row.includes("100") && row.includes("60"), row);
  await browser.shot(page, "reset-dry-run");
  const offset = async () => (await broker.api("GET", "/v1/groups/billing")).body.partitions.find((one) => one.partition === 0).committed_offset;
  must((await offset()) === 100, "a dry run has moved it");
  await id(page, "do").click();
  await eventually("it has moved", async () => (await offset()) === 60);
  await eventually("it is shown", async () => (await id(page, "tile-lag").textContent()).includes("290"));
}

async function consumers({ page }) {
  await go(page, "#/topics/invoices/consumers");
  await eventually("the group is named", async () => (await id(page, "consumers").textContent()).includes("billing"));
}
