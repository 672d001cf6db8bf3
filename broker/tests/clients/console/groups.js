// Groups: lag rises when their members stop, and offsets move as a dry run said.

import { eventually, go, id, must, run, shell } from "./world.js";

export async function all(world) {
  await run("groups/lag", () => lag(world));
  await run("groups/reset", () => reset(world));
  await run("groups/places", () => places(world));
  await run("groups/consumers", () => consumers(world));
  await run("groups/delete", () => remove(world));
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
  await eventually("the lists say the same", async () => {
    const members = await page.getByRole("region", { name: "Members" }).isVisible();
    return !members && (await id(page, "lag").textContent()).includes("250");
  });
  await browser.shot(page, "group-lag", { fullPage: true });
  await go(page, "#/groups");
  const late = page.locator('[data-testid="groups"] tr[data-key="billing"] td[data-label="Lag in time"]');
  await eventually("the list tells it in time", async () => /\d (ms|s|min)/.test(await late.textContent()));
  await go(page, "#/groups/billing");
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

/** Every place that the wizard knows, as a dry run; the line that is shown says the same, and one is done. */
async function places({ page, broker }) {
  await go(page, "#/groups/billing");
  await eventually("it is there", async () => (await id(page, "tile-state").textContent()).includes("Empty"));
  const places = [["start", {}, 0], ["end", {}, 350], ["offset", { offset: "123" }, 123], ["time", { time: "2020-01-01T00:00:00" }, 0]];
  await id(page, "reset").click();
  for (const [to, fields, expected] of places) {
    await id(page, "field-to").selectOption(to);
    for (const [name, value] of Object.entries(fields)) await id(page, `field-${name}`).fill(value);
    const line = (await id(page, "curl").textContent()).replace("offsets:seek'", "offsets:seek?dry_run=true'");
    const told = JSON.parse(shell(line.replace("curl ", "curl -s ")).out);
    must(told.partitions.find((one) => one.partition === 0).after === expected, `${to}: ${JSON.stringify(told)}`);
    await id(page, "dry-run").click();
    await eventually(`${to} is previewed`, async () => (await id(page, "moves").locator('tr[data-key="invoices-0"]').textContent()).includes(String(expected)));
  }
  await id(page, "field-to").selectOption("offset");
  await id(page, "field-topic").selectOption("invoices");
  await id(page, "field-partitions").fill("0");
  await id(page, "do").click();
  const committed = async () => (await broker.api("GET", "/v1/groups/billing")).body.partitions.find((one) => one.partition === 0).committed_offset;
  await eventually("it has moved", async () => (await committed()) === 123);
}

/** A group that nobody needs. */
async function remove({ page, broker, bin }) {
  const read = shell(`tidewheel consume invoices -g unneeded -e -b ${broker.kafka}`, bin);
  must(read.status === 0, read.err);
  await go(page, "#/groups/unneeded");
  await eventually("it is there", async () => (await id(page, "tile-state").textContent()).includes("Empty"));
  await id(page, "delete-group").click();
  must(await id(page, "do").isDisabled(), "it would go without its name");
  await id(page, "field-confirm").fill("unneeded");
  await id(page, "do").click();
  await eventually("the list is shown", async () => (await page.title()).startsWith("Groups"));
  const left = await broker.api("GET", "/v1/groups?q=unneeded&stats=false");
  must(left.body.total === 0, JSON.stringify(left.body));
}

async function consumers({ page, broker }) {
  await go(page, "#/topics/invoices/consumers");
  const row = id(page, "consumers").locator('tr[data-key="billing"]');
  await row.waitFor();
  const { total_lag: lag } = (await broker.api("GET", "/v1/groups/billing")).body;
  must((await row.locator('td[data-label="Lag"]').textContent()) === String(lag), await row.textContent());
}
