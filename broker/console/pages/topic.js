// One topic: its head, what can be done to it, and its parts.

import { call, curl, part } from "../api.js";
import { action, askToDelete, open } from "../dialogs.js";
import { badge, command, fill, h, problem, tile, toast } from "../dom.js";
import { bytes, count, integer, kept } from "../format.js";
import { head, tabs } from "../page.js";
import { ratesOfTopics } from "./topics.js";
import * as consumers from "./topic_consumers.js";
import * as messages from "./messages.js";
import * as partitions from "./partitions.js";
import * as produce from "./produce.js";
import * as settings from "./topic_settings.js";

const PARTS = { "": messages, partitions, produce, settings, consumers };
const TABS = [["", "Messages"], ["partitions", "Partitions"], ["produce", "Produce"], ["settings", "Settings"], ["consumers", "Consumers and producers"]];

export function show(page) {
  const [name, tab] = page.params;
  const chosen = Object.hasOwn(PARTS, tab) ? tab : "";
  const path = `/v1/topics/${part(name)}`;
  const wrong = h("div", null);
  const figures = h("div", { class: "tiles" });
  const content = h("div", null);
  const state = { topic: null };
  const rates = ratesOfTopics();
  const delayed = h("a", { class: "button", hidden: true, href: `#/delayed?topic=${part(name)}` }, "Delayed records");
  const button = (text, onclick, more = {}) => h("button", { type: "button", onclick, ...more }, text);
  const empty = button("Empty", () => emptyTopic(name, path, state, reload), { class: "danger", disabled: true, "data-testid": "empty-topic" });
  const title = h("span", null, h("a", { href: "#/topics", class: "crumb" }, "Topics / "), name);
  const actions = [
    delayed,
    button("More partitions", () => grow(page, path, state, reload)),
    empty,
    button("Delete", () => remove(name, path), { class: "danger", "data-testid": "delete-topic" }),
  ];
  page.show(head(title, actions), wrong, figures, tabs(`Parts of ${name}`, `#/topics/${part(name)}`, TABS, chosen), content);
  page.every(2500, async () => {
    rates.take(await page.text({ path: "/metrics" }));
  });
  let shown = false;
  const reload = page.refresh(5000, wrong, async () => {
    const topic = await page.get(path);
    state.topic = topic;
    empty.disabled = false;
    fill(figures, tiles(topic, rates));
    delayed.hidden = (topic.overrides["delay.mode"] ?? "none") === "none";
    if (!shown) {
      shown = true;
      PARTS[chosen].show(page, content, topic);
    }
  });
}

function tiles(topic, rates) {
  const rate = (family, format) => (rates.of(family, topic.name) === null ? "–" : `${format(rates.of(family, topic.name))}/s`);
  return [
    tile("Partitions", count(topic.partitions)),
    tile("Records", count(topic.records), { more: topic.cleanup_policy.includes("compact") ? "offsets; compaction leaves holes" : null, testid: "tile-records" }),
    tile("Size", bytes(topic.size_bytes), { more: topic.segments === 1 ? "1 segment" : `${count(topic.segments)} segments` }),
    tile("Records in", rate("records", count), { more: `${rate("in", bytes)} in, ${rate("out", bytes)} out` }),
    tile("Cleanup", topic.cleanup_policy, { more: kept(topic) ? `kept ${kept(topic)}` : "age deletes nothing" }),
    tile("Own settings", count(Object.keys(topic.overrides).length)),
    topic.damaged_partitions ? tile("Damaged", count(topic.damaged_partitions), { kind: "bad" }) : null,
    topic.internal ? h("div", null, badge("internal")) : null,
  ].filter(Boolean);
}

function grow(page, path, state, done) {
  const now = state.topic?.partitions ?? 1;
  action({
    title: "More partitions",
    button: "Add them",
    text: h("p", null, `There are ${count(now)}. There can never be fewer again, and keys lead to other partitions from then on.`),
    fields: [{ name: "partitions", label: "Partitions altogether", type: "number", min: now + 1, value: now + 1, required: true }],
    request: (values) => ({ method: "PATCH", path, body: { partitions: integer(values.partitions, "Partitions") } }),
    done,
  });
}

function remove(name, path) {
  const text = "The topic goes with all its records. Nothing brings them back.";
  askToDelete({ name, path, text, then: "#/topics", told: `topic ${name} is deleted` });
}

/** Deletes all records of all partitions, one partition after the other. */
function emptyTopic(name, path, state, done) {
  const many = state.topic.partitions;
  const request = (partition) => ({ method: "POST", path: `${path}/partitions/${partition}:delete-records`, body: { before: "end" } });
  const outcome = h("div", { "aria-live": "polite", "data-testid": "emptied" });
  let busy = false;
  const arrange = () => {
    go.disabled = busy || sure.value !== name;
  };
  const sure = h("input", { type: "text", autocomplete: "off", "aria-label": `Type ${name} to go on`, oninput: arrange, "data-testid": "field-confirm" });
  const go = h("button", { type: "button", class: "danger", disabled: true, onclick: run, "data-testid": "do" }, "Delete all records");
  const line = curl(request("PARTITION")).replace("/PARTITION:", "/'$p':");
  const dialog = open(
    `Empty ${name}`,
    h("p", null, `All records of its ${count(many)} partitions go; the topic, its settings and its offsets stay.`),
    h("div", { class: "fields" }, h("label", null, `Type ${name} to go on`, sure)),
    outcome,
    command(`for p in $(seq 0 ${Math.max(0, many - 1)}); do ${line}; done`, "curl"),
    h("div", { class: "buttons" }, h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"), go),
  );
  sure.focus();
  async function run() {
    if (busy) return;
    busy = true;
    arrange();
    let emptied = 0;
    let all = many;
    try {
      // Partitions may have been added since: the count is read again, also behind the last one.
      do {
        all = (await call({ path })).partitions;
        for (; emptied < all && dialog.open; emptied += 1) {
          outcome.textContent = `${count(emptied + 1)} of ${count(all)}`;
          await call(request(emptied));
        }
      } while (dialog.open && emptied < (await call({ path })).partitions);
      const stopped = emptied < all;
      if (dialog.open) dialog.close();
      toast(stopped ? `stopped after ${count(emptied)} of ${count(all)} partitions of ${name}` : `${name} is empty`, stopped ? "bad" : "");
    } catch (error) {
      const told = h("p", null, `${count(emptied)} of ${count(all)} partitions are empty.`);
      if (dialog.open) fill(outcome, problem(error), told);
      else toast(`stopped after ${count(emptied)} of ${count(all)} partitions of ${name}: ${error.message}`, "bad");
    }
    busy = false;
    arrange();
    done();
  }
}
