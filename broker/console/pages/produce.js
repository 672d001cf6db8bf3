// A record by hand: for tests, and to send one again.

import { call, curl, part } from "../api.js";
import { field } from "../dialogs.js";
import { card, command, fill, h, problem } from "../dom.js";
import { count, forInput, parseDuration, time } from "../format.js";
import { base64, bytesOf } from "../payload.js";
import { bootstrap } from "./broker.js";

const DELAYED = ["timestamp", "header", "both"];

export async function show(page, place, topic) {
  const to = await bootstrap();
  const mode = topic.overrides["delay.mode"] ?? "none";
  const path = `/v1/topics/${part(topic.name)}/records`;
  const delays = [["now", "now"], ["after", "after a while"], ["at", "at a time"]];
  const specs = [
    { name: "partition", label: "Partition", type: "number", min: 0, max: topic.partitions - 1, placeholder: "by the key, or in turns" },
    { name: "key", label: "Key (none where it is empty)" },
    { name: "value", label: "Value", type: "area", rows: 8 },
    { name: "encoded", label: "Key and value are base64", type: "check" },
    { name: "tombstone", label: "No value: a tombstone", type: "check" },
    { name: "headers", label: "Headers, one NAME: VALUE a line", type: "area", rows: 3 },
    { name: "delay", label: "Deliver it", options: DELAYED.includes(mode) ? delays : delays.slice(0, 1), help: DELAYED.includes(mode) ? null : "delay.mode of this topic lets no record be delayed" },
    { name: "after", label: "After", value: "30s", help: "30s, 5m, 2h, 1d", when: (now) => now.delay === "after" },
    { name: "at", label: "At (time of this machine)", type: "datetime-local", step: "1", value: forInput(Date.now() + 60_000), when: (now) => now.delay === "at" },
  ];
  const fields = specs.map((spec) => ({ ...spec, ...field(spec, () => update()) }));
  const of = (name) => fields.find((one) => one.name === name);
  const values = () => Object.fromEntries(fields.map((one) => [one.name, one.read()]));
  const line = h("div", null);
  const kcat = h("div", null);
  const outcome = h("div", { "aria-live": "polite", "data-testid": "produced" });
  const go = h("button", { type: "submit", class: "first", "data-testid": "produce" }, "Produce");
  const dry = h("button", { type: "button", onclick: () => run(true) }, "Dry run");
  const form = h(
    "form",
    {
      novalidate: true,
      onsubmit: (event) => {
        event.preventDefault();
        run(false);
      },
    },
    h("div", { class: "two" }, card("Record", fields.slice(0, 6).map((one) => h("div", { class: "row" }, grow(one.label)))), card("When", fields.slice(6).map((one) => h("div", { class: "row" }, grow(one.label))), outcome, h("div", { class: "row" }, go, dry), line, kcat)),
  );

  function body() {
    const now = values();
    const payload = (text) => (now.encoded ? { base64: text } : text);
    const record = {};
    if (now.partition !== "") record.partition = Number(now.partition);
    if (now.key !== "") record.key = payload(now.key);
    if (!now.tombstone) record.value = payload(now.value);
    const lines = now.headers.split("\n").filter((one) => one.trim());
    if (lines.length) record.headers = lines.map(header);
    if (now.delay === "after") {
      const wait = parseDuration(now.after);
      if (wait === null) throw new Error("After: 30s, 5m, 2h or 1d");
      record.deliver_at_ms = Date.now() + wait;
    } else if (now.delay === "at") {
      record.deliver_at_ms = new Date(now.at).getTime();
      if (Number.isNaN(record.deliver_at_ms)) throw new Error("At: a date and a time");
    }
    return record;
  }

  function update() {
    const now = values();
    fields.forEach((one) => {
      if (one.when) one.label.hidden = !one.when(now);
    });
    of("value").input.disabled = now.tombstone;
    try {
      fill(line, command(curl({ method: "POST", path, body: body() }), "curl"));
      go.disabled = dry.disabled = false;
    } catch (error) {
      fill(line, h("p", { class: "soft" }, error.message));
      go.disabled = dry.disabled = true;
    }
    fill(kcat, command(kcatLine(to, topic.name, now)));
  }

  async function run(isDry) {
    go.disabled = dry.disabled = true;
    try {
      const done = await call({ method: "POST", path, query: isDry ? { dry_run: true } : {}, body: body() });
      const where = done.offset === null ? `partition ${done.partition}` : `partition ${done.partition}, offset ${count(done.offset)}`;
      const text = isDry ? `It would go to ${where}; nothing was sent.` : done.offset === null ? `Taken for ${where}; it is delivered later.` : `It is at ${where}, ${time(done.timestamp_ms)}.`;
      fill(outcome, h("div", { class: "note good" }, text));
    } catch (error) {
      fill(outcome, problem(error), error.status === 403 || error.status === 404 ? hint() : null);
    } finally {
      update();
    }
  }

  fill(place, form);
  update();
  if (page.query.get("from")) prefill(page, topic, of).then(update, (error) => fill(outcome, problem(error)));
}

function grow(label) {
  label.classList.add("grow");
  return label;
}

function header(line) {
  const at = line.indexOf(":");
  if (at <= 0) throw new Error(`"${line}" is not NAME: VALUE`);
  return { key: line.slice(0, at).trim(), value: line.slice(at + 1).trim() };
}

function hint() {
  return h("div", null, h("p", null, "Producing over HTTP is off unless the broker is told otherwise:"), command("tidewheel serve --set tidewheel.admin.produce=true"));
}

const shell = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** The same by kcat, where a line can say it. */
function kcatLine(to, topic, now) {
  const headers = now.headers.split("\n").filter((one) => one.includes(":")).map(header);
  if (now.delay === "after" && parseDuration(now.after) !== null) headers.push({ key: "delay-ms", value: String(parseDuration(now.after)) });
  if (now.delay === "at") headers.push({ key: "delay-until", value: String(new Date(now.at).getTime()) });
  const words = [`kcat -b ${to} -P -t ${topic}`];
  if (now.partition !== "") words.push(`-p ${now.partition}`);
  if (now.key !== "") words.push(`-k ${shell(now.key)}`);
  if (now.tombstone) words.push("-Z");
  headers.forEach((one) => words.push(`-H ${shell(`${one.key}=${one.value}`)}`));
  return `printf %s ${shell(now.tombstone ? "" : now.value)} | ${words.join(" ")}`;
}

/** Takes over a record that is there. */
async function prefill(page, topic, of) {
  const [partition, offset] = page.query.get("from").split(":");
  const answer = await page.get(`/v1/topics/${part(topic.name)}/messages`, { partition, offset, limit: 1, max_value_bytes: 700_000 });
  const record = answer.items[0];
  if (!record || String(record.offset) !== offset) throw new Error(`there is no record ${offset} any more`);
  if (record.value.cut || record.key.cut) throw new Error("the record is too large to be produced here");
  const binary = record.key.format === "base64" || record.value.format === "base64";
  const text = (shown) => (binary ? base64(bytesOf(shown)) : shown.data ?? "");
  of("key").input.value = text(record.key);
  of("value").input.value = text(record.value);
  of("encoded").input.checked = binary;
  of("tombstone").input.checked = record.value.format === "null";
  of("headers").input.value = record.headers.map((one) => `${one.key}: ${one.value.data ?? ""}`).join("\n");
}
