// A record by hand: for tests, and to send one again.

import { call, curl, part } from "../api.js";
import { field } from "../dialogs.js";
import { card, command, fill, h, problem } from "../dom.js";
import { count, forInput, integer, parseDuration, time } from "../format.js";
import { bootstrap } from "./broker.js";
import { headersOf, kcatLine, taken } from "./produce_parts.js";

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
  /** The record that is sent again: what nobody edits is sent as it was, byte for byte. */
  let source = null;
  let busy = false;
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
    const kept = (name) => source !== null && now[name] === source.texts[name];
    const record = {};
    if (now.partition !== "") record.partition = integer(now.partition, "Partition");
    if (kept("key")) record.key = source.key;
    else if (now.key !== "") record.key = payload(now.key);
    if (!now.tombstone) record.value = kept("value") ? source.value : payload(now.value);
    if (kept("headers")) record.headers = source.headers;
    else if (source && !source.canEditHeaders) throw new Error("This form cannot hold the headers of this record: they are sent as they were, or not at all.");
    else record.headers = headersOf(now.headers);
    if (!record.headers.length) delete record.headers;
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
      const record = body();
      const same = kcatLine(to, topic, record, mode, now.delay === "after" ? parseDuration(now.after) : null);
      fill(line, command(curl({ method: "POST", path, body: record }), "curl"));
      fill(kcat, same ? command(same, "kcat") : null);
      go.disabled = dry.disabled = busy;
    } catch (error) {
      fill(line, h("p", { class: "soft", "data-testid": "cannot" }, error.message));
      kcat.replaceChildren();
      go.disabled = dry.disabled = true;
    }
  }

  async function run(isDry) {
    // Enter in a field comes here, too, whatever the buttons are.
    if (busy) return;
    busy = true;
    go.disabled = dry.disabled = true;
    try {
      const done = await call({ method: "POST", path, query: isDry ? { dry_run: true } : {}, body: body() });
      const where = done.offset === null ? `partition ${done.partition}` : `partition ${done.partition}, offset ${count(done.offset)}`;
      const text = isDry ? `It would go to ${where}; nothing was sent.` : done.offset === null ? `Taken for ${where}; it is delivered later.` : `It is at ${where}, ${time(done.timestamp_ms)}.`;
      fill(outcome, h("div", { class: "note good" }, text));
    } catch (error) {
      fill(outcome, problem(error), error.status === 403 || error.status === 404 ? hint() : null);
    } finally {
      busy = false;
      update();
    }
  }

  /** Takes over a record that is there. */
  async function prefill() {
    const record = await taken(page, path.replace(/records$/, "messages"));
    for (const [name, text] of Object.entries(record.texts)) {
      of(name).input.value = text;
      // As the field gives it back.
      record.texts[name] = of(name).read();
    }
    of("encoded").input.checked = record.encoded;
    of("tombstone").input.checked = record.isTombstone;
    source = record;
    fill(outcome, h("div", { class: "note" }, `Taken over from partition ${record.partition}, offset ${record.offset}. What is not edited here is sent as it was.`));
  }

  fill(place, form);
  update();
  if (!page.query.get("from")) return;
  // Until it is there, half of it is not to be sent.
  busy = true;
  update();
  try {
    await prefill();
    busy = false;
    update();
  } catch (error) {
    if (page.isClosed) return;
    fill(outcome, problem(error));
    fill(line, h("p", { class: "soft" }, h("a", { href: `#/topics/${part(topic.name)}/produce` }, "A record of its own")));
    fields.forEach((one) => (one.input.disabled = true));
  }
}

function grow(label) {
  label.classList.add("grow");
  return label;
}

function hint() {
  return h("div", null, h("p", null, "Producing over HTTP is off unless the broker is told otherwise:"), command("tidewheel serve --set tidewheel.admin.produce=true"));
}
