// Records: of every kind, from every place, as they come, and such as mean harm.

import { readFileSync } from "node:fs";

import { eventually, go, id, local, must, run, shell } from "./world.js";

const HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>';

export async function all(world) {
  await run("records/kinds", () => kinds(world));
  await run("records/hostile", () => hostile(world));
  await run("records/places", () => places(world));
  await run("records/search", () => search(world));
  await run("records/stopped", () => stopped(world));
  await run("records/key", () => key(world));
  await run("records/live", () => live(world));
  await run("records/partly", () => partly(world));
  await run("records/produce", () => produce(world));
  await run("records/again", () => again(world));
  await run("records/unreadable", () => unreadable(world));
  await run("records/kcat", () => lines(world));
  await run("records/empty", () => emptied(world));
  await run("records/delete", () => remove(world));
}

const rows = (page) => page.locator('[data-testid="messages"] tbody tr.pick');

/** Opens a topic at a place, and reads. */
async function open(page, topic, query = "") {
  await go(page, "#/");
  await go(page, `#/topics/${topic}${query ? `?${query}` : ""}`);
}

async function kinds({ page, broker, browser }) {
  const json = '{"id": 12345678901234567890, "items": [1, {"a": "b\\"c"}], "none": {}}';
  broker.kcat(["-P", "-t", "orders", "-p", "0", "-k", "k1", "-H", "source=web", "-H", "trace=1-2"], json);
  broker.kcat(["-P", "-t", "orders", "-p", "1", "-k", "plain"], "some text");
  const made = await broker.api("POST", "/v1/topics/orders/records", { partition: 2, key: "bytes", value: { base64: "AAECA//+" } });
  must(made.status === 200, JSON.stringify(made));
  await broker.api("POST", "/v1/topics/orders/records", { partition: 2, key: "gone" });
  await open(page, "orders");
  await eventually("four records", async () => (await rows(page).count()) === 4);
  const text = await id(page, "messages").textContent();
  for (const part of ["k1", "some text", "00 01 02 03 ff fe", "tombstone"]) must(text.includes(part), `${part} in ${text}`);
  await rows(page).filter({ hasText: "k1" }).click();
  const detail = await id(page, "detail").textContent();
  for (const part of ['"id": 12345678901234567890,\n', "source", "web", "UTC", "compression"]) must(detail.includes(part), `${part} in ${detail}`);
  await id(page, "detail").getByRole("button", { name: "hex" }).last().click();
  must((await id(page, "detail").textContent()).includes("7b 22 69 64"), "hex of the value");
  await browser.shot(page, "messages");
}

async function hostile({ page, broker, browser }) {
  const topic = "hostile";
  broker.kcat(["-P", "-t", topic, "-p", "0", "-k", HOSTILE, "-H", `${HOSTILE.replaceAll("=", "-")}=${HOSTILE}`], HOSTILE);
  const group = "<script>window.hacked=1</script>";
  const child = broker.kcatRuns(["-G", group, "-X", "auto.offset.reset=earliest", "-X", "client.id=<b>bold</b>", "-e", topic]);
  const late = setTimeout(() => child.kill("SIGTERM"), 15_000);
  await new Promise((resolve) => child.once("exit", resolve));
  clearTimeout(late);
  await open(page, topic);
  await rows(page).first().click();
  must((await id(page, "detail").textContent()).includes("<script>"), "it is shown as text");
  await browser.shot(page, "messages-hostile");
  await go(page, "#/groups");
  await page.getByText(group).first().waitFor();
  await go(page, `#/groups/${encodeURIComponent(group)}`);
  await id(page, "tile-lag").waitFor();
  await browser.allowing([/status of 404.*\/v1\/topics\/%3C/], async () => {
    await go(page, `#/topics/${encodeURIComponent(HOSTILE)}`);
    await id(page, "problem").waitFor();
    await go(page, "#/");
  });
  must((await page.evaluate(() => window.hacked)) === undefined, "a record has become a program");
  must((await page.locator("img[src=x], main script").count()) === 0, "a record has become markup");
  // Also where somebody forgets the rules: the policy of the page forbids it.
  const assign = (text) => {
    try {
      document.createElement("div").innerHTML = text;
      return false;
    } catch {
      return true;
    }
  };
  const refused = await browser.allowing([/TrustedHTML|Trusted Type|Content Security Policy/i], () => page.evaluate(assign, HOSTILE));
  must(refused, "the policy lets markup in");
}

async function places({ page, broker }) {
  const lines = Array.from({ length: 200 }, (_, at) => `line ${at}`).join("\n");
  broker.kcat(["-P", "-t", "lines", "-p", "0"], lines);
  await new Promise((resolve) => setTimeout(resolve, 1100));
  const between = Date.now();
  broker.kcat(["-P", "-t", "lines", "-p", "0"], lines.replaceAll("line", "late"));
  await open(page, "lines", "partition=0");
  const first = () => rows(page).first().textContent();
  await eventually("the newest", async () => (await first()).includes("late 199"));
  must((await rows(page).count()) === 50, "fifty");
  await id(page, "earlier").click();
  await eventually("those before", async () => (await first()).includes("late 100"));
  await id(page, "from").selectOption("offset");
  await id(page, "offset").fill("42");
  await id(page, "read").click();
  await eventually("from an offset", async () => (await first()).includes("line 42"));
  await id(page, "later").click();
  await eventually("the next page", async () => (await first()).includes("line 92"));
  await id(page, "from").selectOption("oldest");
  await id(page, "read").click();
  await eventually("the oldest", async () => (await first()).includes("line 0"));
  await open(page, "lines", `partition=0&from=time&time=${await local(page, between)}`);
  await eventually("from a time", async () => (await first()).includes("late 0"));
}

async function search({ page }) {
  await open(page, "lines", "partition=0");
  await id(page, "q").fill("line 7");
  await id(page, "read").click();
  await eventually("those that fit", async () => (await rows(page).count()) === 11);
  must((await id(page, "told").textContent()).includes("400 looked at"), await id(page, "told").textContent());
  const begun = page.waitForEvent("download");
  await id(page, "save").click();
  const saved = await begun;
  must(saved.suggestedFilename() === "lines.jsonl", saved.suggestedFilename());
  const lines = readFileSync(await saved.path(), "utf8").trim().split("\n");
  must(lines.length === (await rows(page).count()) && lines.every((line) => JSON.parse(line).value.data.includes("line 7")), lines.join("\n"));
}

/** All partitions are read, two at a time: what is stopped does not go on to the third one. */
async function stopped({ page }) {
  await open(page, "lines", "partition=all");
  await eventually("all are read", async () => (await id(page, "told").textContent()).includes("looked at"));
  let asked = 0;
  let release;
  const isStopped = new Promise((resolve) => {
    release = resolve;
  });
  await page.route("**/v1/topics/lines/messages?*", async (route) => {
    asked += 1;
    await isStopped;
    await route.continue();
  });
  await id(page, "read").click();
  await id(page, "stop").click();
  release();
  await eventually("it says so", async () => (await id(page, "told").textContent()).startsWith("stopped"));
  must(asked === 2, `${asked} partitions were asked`);
  await id(page, "stop").waitFor({ state: "hidden" });
  await page.unroute("**/v1/topics/lines/messages?*");
}

/** Records of one key, to the letter, and what is copied of one. */
async function key({ broker, browser }) {
  const page = await browser.page(broker, { permissions: ["clipboard-read", "clipboard-write"] });
  broker.kcat(["-P", "-t", "keyed", "-p", "0", "-K", ":"], ["a:1", "ab:2", "a:3", "A:4"].join("\n"));
  await open(page, "keyed", "partition=0");
  await eventually("all four", async () => (await rows(page).count()) === 4);
  await id(page, "key").fill("a");
  await id(page, "read").click();
  await eventually("those of the key", async () => (await rows(page).count()) === 2);
  must((await rows(page).first().locator('td[data-label="Value"]').textContent()).includes("3"), "the newest first");
  await rows(page).first().click();
  const detail = id(page, "detail");
  await detail.getByRole("button", { name: "base64" }).last().click();
  await eventually("in base64", async () => (await detail.textContent()).includes("Mw=="));
  await detail.getByRole("button", { name: "Copy", exact: true }).first().click();
  await eventually("the key is copied", async () => (await page.evaluate(() => navigator.clipboard.readText())) === "a");
  await page.context().close();
}

async function live({ page, broker }) {
  await open(page, "lines", "partition=0");
  await eventually("records are there", async () => (await rows(page).count()) === 50);
  await id(page, "live").click();
  await eventually("it waits", async () => (await id(page, "told").textContent()).startsWith("live"));
  broker.kcat(["-P", "-t", "lines", "-p", "0"], "just now");
  await eventually("it comes", async () => (await rows(page).first().textContent()).includes("just now"));
  // However many come, the page keeps some.
  broker.kcat(["-P", "-t", "lines", "-p", "0"], Array.from({ length: 3000 }, (_, at) => `many ${at}`).join("\n"));
  await eventually("all came", async () => (await rows(page).first().textContent()).includes("many 2999"));
  must((await rows(page).count()) === 500, `${await rows(page).count()} rows`);
  // Of all partitions at once.
  await open(page, "orders", "partition=all");
  await id(page, "live").click();
  await eventually("it waits", async () => (await id(page, "told").textContent()).startsWith("live"));
  for (const partition of ["0", "2"]) broker.kcat(["-P", "-t", "orders", "-p", partition], `to ${partition}`);
  await eventually("both come", async () => {
    const text = await id(page, "messages").textContent();
    return text.includes("to 0") && text.includes("to 2");
  });
}

async function produce({ page, broker, browser }) {
  await go(page, "#/topics/orders/produce");
  await id(page, "field-key").fill("by hand");
  await id(page, "field-value").fill('{"made": "here"}');
  await id(page, "field-headers").fill("who: me");
  await id(page, "field-partition").fill("1");
  await id(page, "produce").click();
  await eventually("it says where", async () => (await id(page, "produced").textContent()).includes("partition 1, offset"));
  await browser.shot(page, "produce");
  const read = broker.kcat(["-C", "-t", "orders", "-p", "1", "-o", "-1", "-e", "-f", "%k|%h|%s"]);
  must(read.includes('by hand|who=me|{"made": "here"}'), read);
  await open(page, "orders", "partition=1");
  await rows(page).first().click();
  await page.getByRole("link", { name: "Produce again" }).click();
  await eventually("it is taken over", async () => (await id(page, "field-key").inputValue()) === "by hand");
}

const utf8 = (text) => Buffer.from(text).toString("base64");

/** Records that no form can hold as text: they are sent again as they were, or not at all. */
async function again({ page, broker }) {
  const made = await broker.api("POST", "/v1/topics", { name: "again", partitions: 1 });
  must(made.status < 300, JSON.stringify(made.body));
  const send = async (record) => (await broker.api("POST", "/v1/topics/again/records", record)).body.offset;
  const read = async (offset) => (await broker.api("GET", `/v1/topics/again/messages?partition=0&offset=${offset}&limit=1`)).body.items[0];
  const odd = [
    { key: "bytes: ", value: { base64: "AP8=" } },
    { key: "none" },
    { key: "  spaces ", value: " at the ends " },
    { key: "lines", value: "a\r\nb" },
    { key: "no-text", value: "" },
  ];
  const records = [
    { key: { base64: "AAEC" }, value: "text\r\nwith lines\n", headers: odd },
    { key: "", value: "", headers: [{ key: "plain", value: "x" }] },
    { key: "a\nb", headers: odd.slice(0, 1) },
    { value: { base64: utf8("{\"a\": 1}\n") } },
  ];
  for (const record of records) {
    const before = await send(record);
    await go(page, "#/");
    await go(page, `#/topics/again/produce?from=0:${before}`);
    await eventually("it is taken over", async () => (await id(page, "produced").textContent()).includes("Taken over"));
    await id(page, "produce").click();
    await eventually("it is sent", async () => (await id(page, "produced").textContent()).includes("It is at"));
    const [old, now] = [await read(before), await read(before + 1)];
    for (const name of ["key", "value", "headers"]) must(JSON.stringify(old[name]) === JSON.stringify(now[name]), `${name}: ${JSON.stringify(old[name])} became ${JSON.stringify(now[name])}`);
  }
  // Headers that lines cannot say are not to be edited.
  await go(page, "#/topics/again/produce?from=0:0");
  await eventually("it is taken over", async () => (await id(page, "produced").textContent()).includes("Taken over"));
  await id(page, "field-headers").fill("a: b");
  must((await id(page, "cannot").textContent()).includes("cannot hold") && (await id(page, "produce").isDisabled()), "it would be sent");
  // One part of it is edited, the others stay.
  await go(page, "#/topics/again/produce?from=0:2");
  await eventually("it is taken over", async () => (await id(page, "field-headers").inputValue()) === "plain: x");
  await id(page, "field-value").fill("another");
  await id(page, "produce").click();
  await eventually("it is sent", async () => (await id(page, "produced").textContent()).includes("It is at"));
  const edited = await read(8);
  must(edited.value.data === "another" && edited.key.format === "text" && edited.key.size_bytes === 0 && edited.headers.length === 1, JSON.stringify(edited));
  // More than the API shows.
  const long = await send({ value: "x", headers: [{ key: "long", value: "x".repeat(5000) }] });
  const many = await send({ value: "x", headers: Array.from({ length: 100 }, (_, at) => ({ key: `h${at}`, value: "x" })) });
  for (const offset of [long, many]) {
    await go(page, "#/");
    await go(page, `#/topics/again/produce?from=0:${offset}`);
    await eventually("it is refused", async () => (await id(page, "produced").textContent()).includes("cannot hold"));
    must(await id(page, "produce").isDisabled(), "it could be sent");
  }
}

/** A partition that cannot be read does not hide the others, and a live view that falls behind says what it leaves out. */
async function partly({ page, browser }) {
  await browser.allowing([/status of 500.*messages\?.*partition=1\b/], () => partlyRead(page));
}

async function partlyRead(page) {
  const bad = /partition=1\b/;
  await page.route("**/orders/messages?**", async (route) => {
    if (!bad.test(route.request().url())) return route.continue();
    return route.fulfill({ status: 500, contentType: "application/problem+json", json: { type: "/problems/internal", title: "broken", status: 500, detail: "it cannot be read" } });
  });
  await open(page, "orders", "partition=all");
  await eventually("the others are shown", async () => (await rows(page).count()) >= 3);
  const main = page.locator("#main");
  await eventually("it says which is not", async () => {
    const text = await main.textContent();
    return text.includes("Not read: partition 1.") && text.includes("it cannot be read");
  });
  await page.unroute("**/orders/messages?**");
  await page.route("**/orders/messages?**", async (route) => {
    const answer = await route.fetch();
    const told = await answer.json();
    told.high_watermark = told.next_offset + 20_000;
    await route.fulfill({ response: answer, json: told });
  });
  await id(page, "live").click();
  await eventually("it says so", async () => (await id(page, "told").textContent()).includes("offsets left out"));
  await page.unroute("**/orders/messages?**");
  await go(page, "#/");
}

/** What is no number never becomes one. */
async function unreadable({ page }) {
  await go(page, "#/topics/orders/produce");
  await id(page, "field-value").fill("x");
  await id(page, "field-partition").pressSequentially("1e");
  must((await id(page, "cannot").textContent()).includes("whole number") && (await id(page, "produce").isDisabled()), "it would be sent");
  await id(page, "field-partition").fill("9007199254740993");
  must(await id(page, "produce").isDisabled(), "it would be sent as another number");
  await go(page, "#/topics/lines/partitions");
  await page.locator('tr[data-key="0"]').getByRole("button", { name: "Delete records" }).click();
  await id(page, "field-offset").fill("");
  must((await id(page, "do").isDisabled()) && (await id(page, "dry-run").isDisabled()), "an empty offset would be sent");
  await page.keyboard.press("Escape");
}

/** The line for kcat sends what the form would send; where it cannot, there is none. */
async function lines({ page, broker }) {
  await go(page, "#/topics/orders/produce");
  await id(page, "field-key").fill("it's a key: x");
  await id(page, "field-value").fill("-n it's %s \\n one line");
  await id(page, "field-headers").fill("who: it's me");
  const sent = shell(await id(page, "kcat").textContent());
  must(sent.status === 0, sent.err);
  await id(page, "produce").click();
  await eventually("it is sent", async () => (await id(page, "produced").textContent()).includes("offset"));
  const at = /partition (\d+), offset ([\d,]+)/.exec(await id(page, "produced").textContent());
  const offset = Number(at[2].replaceAll(",", ""));
  const { items } = (await broker.api("GET", `/v1/topics/orders/messages?partition=${at[1]}&offset=${offset - 1}&limit=2`)).body;
  const told = items.map((one) => JSON.stringify([one.key, one.value, one.headers]));
  must(told.length === 2 && told[0] === told[1], told.join("\n"));
  await id(page, "field-tombstone").check();
  must((await id(page, "kcat").count()) === 0, "a key with a colon");
  await id(page, "field-key").fill("it's gone");
  const gone = shell(await id(page, "kcat").textContent());
  must(gone.status === 0, gone.err);
  const all = broker.kcat(["-C", "-t", "orders", "-o", "beginning", "-e", "-f", "%k|%S|%h\n"]);
  must(all.includes("it's gone|-1|who=it's me"), all);
  await id(page, "field-tombstone").uncheck();
  for (const value of ["", "two\nlines"]) {
    await id(page, "field-value").fill(value);
    must((await id(page, "kcat").count()) === 0, `a line for "${value}"`);
  }
  await id(page, "field-value").fill("eA==");
  await id(page, "field-encoded").check();
  must((await id(page, "kcat").count()) === 0, "a line for base64");
  await id(page, "field-encoded").uncheck();
  await id(page, "field-headers").fill(":x");
  must((await id(page, "cannot").textContent()).includes("NAME: VALUE"), "a header without a name");
}

/** All partitions are emptied, or it says how many were. */
async function emptied({ page, broker }) {
  const made = await broker.api("POST", "/v1/topics", { name: "emptied", partitions: 2 });
  must(made.status < 300, JSON.stringify(made.body));
  for (const partition of ["0", "1"]) broker.kcat(["-P", "-t", "emptied", "-p", partition], "one\ntwo");
  const start = async (partition) => (await broker.api("GET", `/v1/topics/emptied/partitions/${partition}`)).body.log_start_offset;
  let hold = () => {};
  const held = new Promise((resolve) => {
    hold = resolve;
  });
  await page.route("**/0:delete-records", async (route) => {
    await held;
    await route.continue();
  });
  const begin = async () => {
    await eventually("it may be pressed", async () => !(await id(page, "empty-topic").isDisabled()));
    await id(page, "empty-topic").click();
    await id(page, "field-confirm").fill("emptied");
    await id(page, "do").click();
    await id(page, "emptied").getByText("1 of 2").waitFor();
  };
  await go(page, "#/topics/emptied");
  await begin();
  await page.keyboard.press("Escape");
  hold();
  await page.getByText("stopped after 1 of 2").waitFor();
  must((await start(0)) === 2 && (await start(1)) === 0, "the second one is left alone");
  await page.unroute("**/0:delete-records");
  // A partition comes while it works.
  let grown = false;
  await page.route("**/1:delete-records", async (route) => {
    if (!grown) {
      grown = true;
      await broker.api("PATCH", "/v1/topics/emptied", { partitions: 3 });
      broker.kcat(["-P", "-t", "emptied", "-p", "2"], "late");
    }
    await route.continue();
  });
  await id(page, "empty-topic").click();
  await id(page, "field-confirm").fill("emptied");
  await id(page, "do").click();
  await page.getByText("emptied is empty").waitFor();
  must((await start(1)) === 2 && (await start(2)) === 1, "records are left");
  await page.unroute("**/1:delete-records");
}

async function remove({ page, broker }) {
  await go(page, "#/topics/lines/partitions");
  await page.locator('tr[data-key="0"]').getByRole("button", { name: "Delete records" }).click();
  await id(page, "field-offset").fill("100");
  await id(page, "dry-run").click();
  await id(page, "dry-result").waitFor();
  await id(page, "do").click();
  await eventually("they are gone", async () => (await broker.api("GET", "/v1/topics/lines/partitions/0")).body.log_start_offset === 100);
  await go(page, "#/topics/hostile");
  await id(page, "delete-topic").click();
  must(await id(page, "do").isDisabled(), "nobody has typed its name yet");
  await id(page, "field-confirm").fill("hostile");
  await id(page, "do").click();
  await eventually("the topic is gone", async () => (await broker.api("GET", "/v1/topics/hostile")).status === 404);
}
