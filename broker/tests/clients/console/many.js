// 10,000 partitions and 1,000 groups: every page is still there at once.

import { connect } from "node:net";
import { join } from "node:path";

import { Broker, eventually, go, id, must, run } from "./world.js";

const TOPICS = 20;
const PARTITIONS = 500;
const GROUPS = 1000;
const CONNECTIONS = 20;
/** Records of each topic. */
const PER_TOPIC = 2500;
/** Groups that have a member. */
const MEMBERS = 3;
/** From the click to the rows, also on a machine that is busy; else it is a fraction of a second. */
const BOUND_MS = 15_000;

export async function all(world) {
  await run("many", () => many(world));
}

const topic = (at) => `topic-${String(at).padStart(3, "0")}`;

/** A text of the protocol. */
function text(value) {
  const bytes = Buffer.from(value);
  const size = Buffer.alloc(2);
  size.writeInt16BE(bytes.length);
  return Buffer.concat([size, bytes]);
}

function number(bytes, value) {
  const buffer = Buffer.alloc(bytes);
  if (bytes === 8) buffer.writeBigInt64BE(BigInt(value));
  else buffer.writeIntBE(value, 0, bytes);
  return buffer;
}

const frame = (...parts) => {
  const body = Buffer.concat(parts);
  return Buffer.concat([number(4, body.length), body]);
};

/** FindCoordinator version 0: with it `__consumer_offsets` is made. */
const coordinator = () => frame(number(2, 10), number(2, 0), number(4, 0), text("many"), text("group-0000"));

/** OffsetCommit version 2 of a group without members. */
function commit(at) {
  const group = text(`group-${String(at).padStart(4, "0")}`);
  const head = [number(2, 8), number(2, 2), number(4, at), text("many"), group, number(4, -1), text(""), number(8, -1)];
  return frame(...head, number(4, 1), text(topic(at % TOPICS)), number(4, 1), number(4, at % PARTITIONS), number(8, 0), text(""));
}

/** Records in every partition of a topic, so that its groups are behind by different numbers of them. */
const fill = (broker, at) => broker.kcat(["-P", "-t", topic(at), "-K", ":"], Array.from({ length: PER_TOPIC }, (_, key) => `${key}:${at}`).join("\n"));

/** Sends frames one after the other, each when the one before is answered. */
async function send(address, frames) {
  const [host, port] = address.split(":");
  const socket = connect(Number(port), host);
  for (const one of frames) {
    socket.write(one);
    await new Promise((resolve, reject) => {
      socket.once("data", resolve);
      socket.once("error", reject);
    });
    socket.removeAllListeners("error");
  }
  socket.destroy();
}

/** Topics over HTTP, and groups by frames: no client makes so many in seconds. */
async function make(broker) {
  for (let at = 0; at < TOPICS; at += 1) {
    const made = await broker.api("POST", "/v1/topics", { name: topic(at), partitions: PARTITIONS });
    must(made.status < 300, JSON.stringify(made.body));
  }
  for (let at = 0; at < TOPICS; at += 1) fill(broker, at);
  await send(broker.kafka, [coordinator()]);
  const all = Array.from({ length: GROUPS }, (_, at) => commit(at));
  const some = (turn) => all.filter((_, at) => at % CONNECTIONS === turn);
  await Promise.all(Array.from({ length: CONNECTIONS }, (_, turn) => send(broker.kafka, some(turn))));
  const { total } = (await broker.api("GET", "/v1/groups?limit=1&stats=false")).body;
  must(total === GROUPS, `${total} groups are there`);
}

/** One topic with more partitions than a choice can offer: the one that is asked for is the one that is shown. */
async function wide(broker, page) {
  const made = await broker.api("POST", "/v1/topics", { name: "wide", partitions: 2500 });
  must(made.status < 300, JSON.stringify(made.body));
  for (const partition of ["0", "2400"]) broker.kcat(["-P", "-t", "wide", "-p", partition], `in ${partition}`);
  await go(page, "#/topics/wide?partition=2400");
  await eventually("its record", async () => (await id(page, "messages").textContent()).includes("in 2400"));
  must((await id(page, "partition").inputValue()) === "2400", "the field says another one");
  await id(page, "partition").fill("2500");
  await id(page, "read").click();
  await eventually("it is not there", async () => (await id(page, "problem").textContent()).includes("no partition 2500"));
  must(!(await id(page, "messages").textContent()).includes("in "), "records of another partition are shown");
  // The same where there are few.
  await go(page, "#/topics/topic-003?partition=500");
  await eventually("nor in another", async () => (await id(page, "problem").first().textContent()).includes("no partition 500"));
}

/** Whether lags fall from row to row, and are not all the same. */
function furthestFirst(texts) {
  const lags = texts.map((text) => Number(text.replaceAll(",", "")));
  return lags.length > 1 && lags[0] > lags.at(-1) && lags.every((lag, at) => at === 0 || lag <= lags[at - 1]);
}

async function many({ binary, folder, browser }) {
  const broker = await new Broker(binary, join(folder, "many")).start();
  await make(broker);
  const page = await browser.page(broker);
  const told = [];
  const timed = async (what, body) => {
    const began = Date.now();
    await body();
    const took = Date.now() - began;
    told.push(`${what} ${took} ms`);
    must(took < BOUND_MS, `${what} took ${took} ms`);
  };
  const total = (text) => () => eventually(text, async () => (await id(page, "total").first().textContent()).includes(text));
  await timed("overview", () => eventually("topics", async () => (await id(page, "tile-topics").textContent()).includes("10,050 partitions")));
  await go(page, "#/topics");
  await timed("topics", total(`1–${TOPICS + 1} of`));
  await timed("sorted", async () => {
    await page.getByRole("button", { name: /^Size/ }).click();
    await eventually("it is sorted", async () => (await page.locator("th[aria-sort=descending]").count()) === 1);
  });
  await timed("filter", async () => {
    await id(page, "filter").fill("topic-012");
    await total("1–1 of 1")();
  });
  await browser.shot(page, "many-topics");
  await go(page, "#/topics/topic-012/partitions");
  await timed("partitions", total("1–50 of 500"));
  await timed("next", async () => {
    await page.getByRole("button", { name: "Next" }).click();
    await total("51–100 of 500")();
  });
  await wide(broker, page);
  await go(page, "#/groups");
  await timed("groups", total("1–50 of 1,000"));
  await timed("by lag", () => eventually("those furthest behind are first", async () => furthestFirst(await id(page, "groups").locator('td[data-label="Lag"]').allTextContents())));
  await browser.shot(page, "many-groups");
  await timed("filter groups", async () => {
    await id(page, "filter").fill("group-0777");
    await total("1–1 of 1")();
  });
  const members = Array.from({ length: MEMBERS }, (_, at) => broker.kcatRuns(["-G", `group-000${at}`, topic(at)]));
  await go(page, "#/groups/group-0000");
  await timed("members", () => eventually("its member", async () => (await page.getByRole("region", { name: "Members" }).textContent()).includes("rdkafka")));
  members.forEach((member) => member.kill("SIGTERM"));
  await go(page, "#/groups/group-0777");
  await timed("group", () => id(page, "tile-lag").waitFor());
  await go(page, "#/topics/topic-017/consumers");
  await timed("consumers", () => eventually("its groups", async () => (await id(page, "consumers").locator("tbody tr").count()) === GROUPS / TOPICS));
  await go(page, "#/storage");
  await timed("storage", () => page.locator('[data-testid="sizes"] tbody tr').first().waitFor());
  for (const name of ["config", "connections", "logs"]) {
    await go(page, `#/${name}`);
    await timed(name, () => page.locator(name === "logs" ? ".log div" : "main tbody tr, main .empty").first().waitFor());
  }
  const nodes = await page.evaluate(() => document.querySelectorAll("*").length);
  must(nodes < 5000, `${nodes} elements`);
  await page.context().close();
  await broker.kill();
  return told.join(", ");
}
