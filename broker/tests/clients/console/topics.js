// The first minutes: nothing is there, the commands of the page change that, topics are made and altered.

import { eventually, go, id, must, run, shell } from "./world.js";

export async function all(world) {
  await run("overview/empty", () => firstRecords(world));
  await run("overview/charts", () => charts(world));
  await run("overview/fallback", () => fallback(world));
  await run("topics/create", () => create(world));
  await run("topics/settings", () => settings(world));
  await run("topics/partitions", () => partitions(world));
}

async function firstRecords({ page, browser, bin }) {
  const commands = page.locator("#main section", { hasText: "First records" }).locator("pre");
  await commands.first().waitFor();
  await browser.shot(page, "overview-empty");
  const lines = await commands.allTextContents();
  must(lines.length === 4 && lines[0].includes("tidewheel topic create"), lines.join("\n"));
  const done = lines.map((line) => shell(line, bin));
  done.forEach((one, at) => must(one.status === 0, `${lines[at]}: ${one.err}`));
  done.slice(2).forEach((one, at) => must(one.out.includes("hello"), `${lines[at + 2]}: ${one.out}`));
  await eventually("the topic is counted", async () => (await id(page, "tile-topics").textContent()).includes("1"));
  await eventually("the state is told", async () => (await id(page, "state").textContent()) === "RUNNING");
}

async function charts({ page, broker }) {
  await eventually("the stream is live", async () => (await id(page, "stream").textContent()) === "live");
  const chart = id(page, "chart-records");
  await chart.locator("canvas").waitFor();
  const value = () => chart.locator(".legend b").textContent();
  await eventually("figures come", async () => /\d/.test(await value()));
  await eventually("what producers wait is shown", async () => {
    broker.kcat(["-P", "-t", "greetings"], "hello again");
    return /\d/.test(await id(page, "chart-produce").locator(".legend b").first().textContent());
  });
  const produce = id(page, "chart-requests").locator(".legend > span", { hasText: "produce" });
  await eventually("requests to produce are told apart", async () => /produce [\d.]+/.test(await produce.textContent()));
  await page.getByRole("button", { name: "1h", exact: true }).click();
  await eventually("an hour is shown", async () => (await page.evaluate(() => location.hash)).includes("range=1h"));
  await page.getByRole("button", { name: "5m", exact: true }).click();
}

/** All streams are taken: the charts go on all the same. */
async function fallback({ browser, broker }) {
  const page = await browser.page(broker);
  let asked = 0;
  page.on("request", (request) => {
    if (request.url().includes("/v1/stats?")) asked += 1;
  });
  await browser.allowing([/status of 503.*stats\/stream/], async () => {
    const full = { type: "/problems/too-many-streams", title: "too many streams", status: 503 };
    await page.route("**/v1/stats/stream", (route) => route.fulfill({ status: 503, contentType: "application/problem+json", json: full }));
    await page.reload();
    await eventually("it says how often it asks", async () => (await id(page, "stream").textContent()) === "each 5 s");
    const before = asked;
    await eventually("it asks again and again", async () => asked >= before + 2);
    must(/\d/.test(await id(page, "chart-records").locator(".legend b").textContent()), "the chart has a figure");
    await page.unroute("**/v1/stats/stream");
    // One that ends without a word, as behind a proxy, is not taken for a live one.
    await page.route("**/v1/stats/stream", (route) => route.fulfill({ status: 200, contentType: "text/event-stream", body: "" }));
    await page.reload();
    await eventually("it says that the stream has ended", async () => (await id(page, "stream").textContent()) === "ended");
    await page.unroute("**/v1/stats/stream");
    await eventually("it is live when there is room again", async () => (await id(page, "stream").textContent()) === "live");
  });
  await page.context().close();
}

async function create({ page, broker }) {
  await go(page, "#/topics");
  await id(page, "create-topic").click();
  await id(page, "field-name").fill("orders");
  await id(page, "field-partitions").fill("3");
  await id(page, "field-configs").fill("retention.ms=86400000\nsegment.bytes=1048576");
  const line = await id(page, "curl").textContent();
  must(line.includes(`'${broker.url}/v1/topics'`) && line.includes('"partitions":3'), line);
  await id(page, "dry-run").click();
  await id(page, "dry-result").waitFor();
  must((await broker.api("GET", "/v1/topics/orders")).status === 404, "a dry run has made it");
  await id(page, "do").click();
  await page.locator('[data-testid="topics"] tr[data-key="orders"]').waitFor();
  const told = (await broker.api("GET", "/v1/topics/orders")).body;
  must(told.partitions === 3 && told.overrides["retention.ms"] === "86400000", JSON.stringify(told));
  // The line that was shown does the same, but it is there by now.
  const again = shell(line.replace("curl ", "curl -s "));
  must(again.out.includes("TOPIC_ALREADY_EXISTS"), again.out);
  await id(page, "filter").fill("ord");
  await eventually("the filter acts", async () => (await page.locator('[data-testid="topics"] tbody tr').count()) === 1);
  await id(page, "filter").fill("");
  const own = page.locator('[data-testid="topics"] tr[data-key="__mine"]');
  await broker.api("POST", "/v1/topics", { name: "__mine", partitions: 1 });
  await own.waitFor();
  await id(page, "internal").uncheck();
  await eventually("those that begin with two underscores are left out", async () => (await own.count()) === 0);
  await page.locator('[data-testid="topics"] tr[data-key="orders"]').waitFor();
  await id(page, "internal").check();
  await own.waitFor();
  await broker.api("DELETE", "/v1/topics/__mine");
}

async function settings({ page, broker, browser }) {
  await go(page, "#/topics/orders/settings");
  await id(page, "edit-retention.ms").click();
  await id(page, "field-value").fill("-5");
  const problem = id(page, "problem");
  await browser.allowing([/status of 400.*\/v1\/topics\/orders\/configs/], async () => {
    await id(page, "do").click();
    await problem.waitFor();
  });
  const told = await problem.textContent();
  must(told.includes("INVALID_CONFIG") && told.length > 40, told);
  await browser.shot(page, "settings-refused");
  await id(page, "field-value").fill("3600000");
  await id(page, "do").click();
  await eventually("it is changed", async () => (await broker.api("GET", "/v1/topics/orders")).body.overrides["retention.ms"] === "3600000");
  await eventually("it is shown", async () => (await page.locator('tr[data-key="retention.ms"]').textContent()).includes("1 h"));
}

async function partitions({ page, broker }) {
  await go(page, "#/topics/orders/partitions");
  await eventually("three partitions", async () => (await page.locator('[data-testid="partitions"] tbody tr').count()) === 3);
  await page.getByRole("button", { name: "More partitions" }).click();
  await id(page, "field-partitions").fill("4");
  await id(page, "do").click();
  await eventually("four partitions", async () => (await page.locator('[data-testid="partitions"] tbody tr').count()) === 4);
  must((await broker.api("GET", "/v1/topics/orders")).body.partitions === 4, "the broker has four");
}
