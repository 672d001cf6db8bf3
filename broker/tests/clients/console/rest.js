// Connections, settings, storage, logs; a broker that goes and comes; tokens.

import { writeFileSync } from "node:fs";
import { createServer, request } from "node:http";
import { join } from "node:path";

import { axe, outside } from "./looks.js";
import { Broker, eventually, go, id, must, run } from "./world.js";

export async function all(world) {
  await run("connections", () => connections(world));
  await run("configuration", () => configuration(world));
  await run("configuration/change", () => changeSetting(world));
  await run("storage", () => storage(world));
  await run("storage/roll", () => roll(world));
  await run("storage/verify", () => verify(world));
  await run("logs", () => logs(world));
  await run("hidden", () => hidden(world));
}

async function connections({ page, broker, browser }) {
  const child = broker.kcatRuns(["-C", "-t", "orders", "-o", "end", "-X", "client.id=watcher"]);
  await go(page, "#/connections");
  const row = page.locator('[data-testid="connections"] tbody tr', { hasText: "watcher" }).first();
  await row.waitFor();
  must((await row.textContent()).includes("librdkafka"), await row.textContent());
  must((await outside(page)).length === 0, (await outside(page)).join(", "));
  await browser.shot(page, "connections");
  await row.getByRole("button", { name: "End" }).click();
  must(/[1-9][\d.]* (B|KiB), [1-9][\d.]* (B|KiB)/.test(await row.textContent()), await row.textContent());
  await id(page, "field-reason").fill("it asks too often");
  const line = await id(page, "curl").textContent();
  must(line.includes("reason=it"), line);
  await id(page, "do").click();
  const number = /connections\/(\d+)/.exec(line)[1];
  await eventually("it is ended", async () => (await broker.api("GET", `/v1/connections/${number}`)).status === 404);
  child.kill("SIGTERM");
}

async function configuration({ page, browser }) {
  await go(page, "#/config");
  await id(page, "which").selectOption("set");
  const row = page.locator('tr[data-key="num.partitions"]');
  await row.waitFor();
  must((await row.textContent()).includes("the configuration"), await row.textContent());
  await row.click();
  must((await id(page, "settings").textContent()).includes("Default"), "it says more");
  await browser.shot(page, "config");
  await id(page, "which").selectOption("");
  await id(page, "filter").fill("log.retention.ms");
  const live = page.locator('tr[data-key="log.retention.ms"]');
  await live.click();
  must((await id(page, "settings").textContent()).includes("tidewheel config set 'log.retention.ms="), "the line is quoted");
}

/** A setting of the broker: refused, changed while it runs, and set back. */
async function changeSetting({ page, broker, browser }) {
  const name = "log.retention.ms";
  const now = async () => (await broker.api("GET", "/v1/config?limit=1000")).body.items.find((one) => one.name === name);
  const before = await now();
  const row = page.locator(`tr[data-key="${name}"]`);
  const opened = async (button) => {
    if ((await id(page, button).count()) === 0) await row.click();
    return (await id(page, button).count()) > 0;
  };
  await eventually("it can be changed", () => opened(`change-${name}`));
  await id(page, `change-${name}`).click();
  await browser.allowing([/status of 400 .*\/v1\/config/], async () => {
    await id(page, "field-value").fill("soon");
    await id(page, "do").click();
    await id(page, "problem").waitFor();
  });
  must((await now()).value === before.value, "what is refused changes nothing");
  await id(page, "field-value").fill("7200000");
  const line = await id(page, "dialog").locator('[data-testid="curl"]').textContent();
  must(line.includes("-X PATCH") && line.includes("7200000"), line);
  await id(page, "do").click();
  await eventually("it is changed", async () => (await now()).value === "7200000");
  await eventually("it is shown", async () => (await row.textContent()).includes("2 h"));
  await browser.shot(page, "config-changed");
  await eventually("it can be set back", () => opened(`reset-${name}`));
  await id(page, `reset-${name}`).click();
  await id(page, "do").click();
  await eventually("it is as it was", async () => {
    const one = await now();
    return one.value === before.value && one.source === before.source;
  });
}

async function storage({ page, broker, browser }) {
  await broker.api("POST", "/v1/topics", { name: "large", partitions: 1, configs: { "segment.bytes": "1048576" } });
  const line = "x".repeat(999);
  broker.kcat(["-P", "-t", "large", "-p", "0"], Array.from({ length: 4000 }, () => line).join("\n"));
  await go(page, "#/storage");
  await page.locator('[data-testid="sizes"] tr[data-key="large"] a').click();
  await eventually("its segments", async () => (await page.locator('[data-testid="segment-map"] .segment').count()) >= 3);
  const oldest = id(page, "segments").locator('tr[data-key="0"] td[data-label="Goes by age"]');
  must(/^in (6|7) d/.test(await oldest.textContent()), await oldest.textContent());
  await browser.shot(page, "storage");
}

/** The page of the case before: a new segment takes the place of the one that is written to. */
async function roll({ page, broker }) {
  const segments = async () => (await broker.api("GET", "/v1/topics/large/partitions/0/segments")).body.total;
  const before = await segments();
  await id(page, "roll").click();
  must((await id(page, "curl").textContent()).includes("/v1/topics/large/partitions/0:roll"), "the curl line");
  await id(page, "do").click();
  await eventually("there is one more", async () => (await segments()) === before + 1);
  await eventually("it is said", async () => (await id(page, "toast").allTextContents()).some((text) => text.includes("begins at 4")));
  await eventually("it is shown", async () => (await page.locator('[data-testid="segment-map"] .segment').count()) === before + 1);
  await id(page, "roll").click();
  await id(page, "do").click();
  await eventually("an empty one stays", async () => (await id(page, "toast").allTextContents()).some((text) => text.includes("holds nothing")));
  must((await segments()) === before + 1, "no empty segments");
}

async function verify({ page, browser }) {
  await id(page, "verify").click();
  const dialog = id(page, "dialog");
  must((await dialog.locator('[data-testid="curl"]').textContent()).includes("/v1/topics/large/partitions/0:verify"), "the curl line");
  await dialog.getByRole("button", { name: "Check it" }).click();
  await eventually("it is checked", async () => (await id(page, "verified").textContent()).includes("All is as it was written."));
  must(/[1-9]\d* batches/.test(await id(page, "verified").textContent()), await id(page, "verified").textContent());
  await browser.shot(page, "storage-verified");
  await dialog.getByRole("button", { name: "Close" }).click();
  await dialog.waitFor({ state: "detached" });
}

async function logs({ page, broker, browser }) {
  await go(page, "#/logs");
  await eventually("lines are there", async () => (await id(page, "log").locator("div").count()) > 0);
  await id(page, "set-level").click();
  await id(page, "field-name").fill("tidewheel_broker::connection");
  await id(page, "do").click();
  await eventually("the level is set", async () => (await id(page, "loggers").textContent()).includes("tidewheel_broker::connection"));
  await eventually("what was done is a line", async () => (await id(page, "log").textContent()).includes("method=PUT"));
  await id(page, "filter").fill("method=PUT");
  await eventually("the filter acts", async () => {
    const lines = await id(page, "log").locator("div").allTextContents();
    return lines.length > 0 && lines.every((line) => line.includes("method=PUT"));
  });
  await browser.shot(page, "logs");
  must((await broker.api("GET", "/v1/loggers")).body.loggers.length === 1, "one level is set");
}

/** The broker goes and comes again: the page says so and goes on. */
export async function restart({ page, broker, browser }) {
  const broken = [/ERR_(CONNECTION_REFUSED|INCOMPLETE_CHUNKED|CONNECTION_RESET|EMPTY_RESPONSE)/, /status of 503/];
  await run("restart", () => browser.allowing(broken, async () => {
    await go(page, "#/");
    await eventually("the stream is live", async () => (await id(page, "stream").textContent()) === "live");
    await broker.stop();
    await eventually("nobody answers", async () => (await id(page, "state").textContent()).includes("no answer"));
    await eventually("the stream is broken", async () => (await id(page, "stream").textContent()) !== "live");
    await browser.shot(page, "broker-gone");
    await broker.start();
    await eventually("it runs again", async () => (await id(page, "state").textContent()) === "RUNNING");
    await eventually("the stream is live again", async () => (await id(page, "stream").textContent()) === "live");
    await eventually("nothing is wrong any more", async () => (await id(page, "problem").count()) === 0);
  }));
}

/** Behind a proxy, in a folder: every address is relative. */
export async function folder({ broker, browser }) {
  await run("folder", async () => {
    const below = "/some/folder";
    const proxy = createServer((asked, answer) => {
      if (!asked.url.startsWith(`${below}/`)) return answer.writeHead(404).end();
      const { hostname, port } = new URL(broker.url);
      const options = { hostname, port, method: asked.method, path: asked.url.slice(below.length), headers: asked.headers };
      const passed = request(options, (got) => got.pipe(answer.writeHead(got.statusCode, got.headers)));
      passed.on("error", () => answer.destroy());
      answer.on("close", () => passed.destroy());
      return asked.pipe(passed);
    });
    await new Promise((resolve) => proxy.listen(0, "127.0.0.1", resolve));
    const page = await browser.page({ url: `http://127.0.0.1:${proxy.address().port}${below}` });
    await eventually("the stream is live", async () => (await id(page, "stream").textContent()) === "live");
    await go(page, "#/topics");
    await id(page, "create-topic").click();
    await id(page, "field-name").fill("from-a-folder");
    const line = await id(page, "curl").textContent();
    must(line.includes(`${below}/v1/topics`), line);
    await id(page, "do").click();
    await page.locator('[data-testid="topics"] tr[data-key="from-a-folder"]').waitFor();
    await broker.api("DELETE", "/v1/topics/from-a-folder");
    await page.context().close();
    proxy.closeAllConnections();
    proxy.close();
  });
}

/** A page that nobody looks at asks nothing, and asks at once when somebody does. */
async function hidden({ broker, browser }) {
  const page = await browser.page(broker);
  await go(page, "#/topics");
  let asked = 0;
  page.on("request", () => {
    asked += 1;
  });
  const look = (isHidden) =>
    page.evaluate((value) => {
      Object.defineProperty(document, "hidden", { value, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }, isHidden);
  await eventually("it asks again and again", () => asked > 3);
  await look(true);
  // What was under way ends.
  await page.waitForTimeout(500);
  asked = 0;
  await page.waitForTimeout(7000);
  must(asked === 0, `${asked} requests of a page that nobody sees`);
  await look(false);
  await eventually("it asks at once", () => asked > 1);
  await page.context().close();
}

/** What is wrong with the broker is seen on the overview, in the head, and on the page that it concerns. */
export async function alarms({ broker, browser }) {
  await run("alarms", async () => {
    const page = await browser.page(broker);
    await page.route("**/v1/overview", async (route) => {
      const told = await (await route.fetch()).json();
      const disk = { ...told.disks[0], free_bytes: 1, low_bytes: 1000 };
      const gone = { ...disk, log_dir: "/gone", free_bytes: null, offline: "Input/output error" };
      const alarms = [{ check: "disk", detail: "1 byte is free" }, { check: "storage", detail: "/gone is offline" }];
      await route.fulfill({ json: { ...told, disks: [disk, gone], damaged_partitions: 2, alarms } });
    });
    await page.reload();
    await id(page, "alarms").waitFor();
    const text = await page.locator("main").textContent();
    for (const part of ["1 byte is free", "/gone is offline", "Damaged partitions2"]) must(text.includes(part), text);
    await browser.shot(page, "alarms");
    must((await axe(page, "light")).length === 0, "axe finds something");
    await go(page, "#/storage");
    await eventually("the disk is told of", async () => (await page.locator("main").textContent()).includes("/goneofflineInput/output error"));
    await browser.allowing([/status of 503.*\/readyz/], async () => {
      const checks = [{ name: "broker", status: "ok" }, { name: "recovery", status: "unavailable", detail: "3 of 10 partitions are back" }];
      await page.route("**/readyz", (route) => route.fulfill({ status: 503, json: { status: "unavailable", broker_state: "RECOVERY", checks } }));
      await eventually("how far a start is", async () => (await id(page, "standing").textContent()).includes("3 of 10 partitions are back"));
      must((await id(page, "state").textContent()) === "RECOVERY: recovery", await id(page, "state").textContent());
      await browser.shot(page, "recovery");
      await page.unroute("**/readyz");
      await id(page, "standing").waitFor({ state: "hidden" });
    });
    await page.context().close();
  });
}

/** A broker that wants a token: it is asked for, kept in this tab, and never shown. */
export async function tokens({ binary, folder, browser }) {
  await run("tokens", () => browser.allowing([/status of 401.*\/v1\//, /status of 403.*\/v1\/(logs|loggers)/], async () => {
    const [good, viewer] = ["an-admin-token-0123456789", "a-viewer-token-0123456789"];
    const broker = new Broker(binary, join(folder, "two"), [`tidewheel.admin.tokens.file=${join(folder, "two", "tokens")}`]);
    writeFileSync(join(broker.folder, "tokens"), `ada admin ${good}\nvic viewer ${viewer}\n`);
    await broker.start();
    const page = await browser.page(broker);
    const sign = async (token) => {
      await id(page, "token").waitFor();
      await id(page, "token").fill(token);
      await page.keyboard.press("Enter");
    };
    await id(page, "token").waitFor();
    await browser.shot(page, "sign-in");
    const found = await axe(page, "light");
    must(found.length === 0, found.join("\n"));
    await page.keyboard.press("Escape");
    await eventually("nobody is asked again", async () => (await page.locator("#signout").textContent()) === "Sign in");
    await id(page, "problem").first().waitFor();
    await page.locator("#signout").click();
    await sign("nobodys-token-0123456789");
    await eventually("it is refused", async () => (await page.getByText("the token is not known").count()) > 0);
    await sign(viewer);
    await id(page, "tile-topics").waitFor();
    await eventually("the stream is live, too", async () => (await id(page, "stream").textContent()) === "live");
    await go(page, "#/logs");
    await eventually("its role is told", async () => (await page.locator("main").textContent()).includes("the role of vic is too low"));
    await page.locator("#signout").click();
    await sign(good);
    await eventually("lines come", async () => (await id(page, "log").locator("div").count()) > 0);
    await go(page, "#/topics");
    await id(page, "create-topic").click();
    await id(page, "field-name").fill("t");
    const line = await id(page, "curl").textContent();
    must(line.includes("$TIDEWHEEL_TOKEN") && !line.includes(good), line);
    await id(page, "do").click();
    await eventually("it is made", async () => (await broker.api("GET", "/v1/topics/t", null, good)).status === 200);
    const kept = await page.evaluate(() => [JSON.stringify({ ...localStorage }), document.cookie, location.href]);
    must(!kept.join().includes("token-0123"), kept.join());
    await page.context().close();
    await broker.stop();
  }));
}
