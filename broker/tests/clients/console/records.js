// Records: of every kind, from every place, as they come, and such as mean harm.

import { eventually, go, id, must, run } from "./world.js";

const HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>';

export async function all(world) {
  await run("records/kinds", () => kinds(world));
  await run("records/hostile", () => hostile(world));
  await run("records/places", () => places(world));
  await run("records/search", () => search(world));
  await run("records/live", () => live(world));
  await run("records/produce", () => produce(world));
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
  browser.expected.push(/status of 404/);
  await go(page, `#/topics/${encodeURIComponent(HOSTILE)}`);
  await id(page, "problem").waitFor();
  must((await page.evaluate(() => window.hacked)) === undefined, "a record has become a program");
  must((await page.locator("img[src=x], main script").count()) === 0, "a record has become markup");
  // Also where somebody forgets the rules: the policy of the page forbids it.
  browser.expected.push(/TrustedHTML|Trusted Type|Content Security Policy/i);
  const refused = await page.evaluate((text) => {
    try {
      document.createElement("div").innerHTML = text;
      return false;
    } catch {
      return true;
    }
  }, HOSTILE);
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

/** For an input of a date and a time. */
const local = (page, ms) =>
  page.evaluate((at) => {
    const here = new Date(at - new Date(at).getTimezoneOffset() * 60_000);
    return here.toISOString().slice(0, 19);
  }, ms);

async function search({ page }) {
  await open(page, "lines", "partition=0");
  await id(page, "q").fill("line 7");
  await id(page, "read").click();
  await eventually("those that fit", async () => (await rows(page).count()) === 11);
  must((await id(page, "told").textContent()).includes("400 looked at"), await id(page, "told").textContent());
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
