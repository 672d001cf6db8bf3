// All topics.

import { part } from "../api.js";
import { action } from "../dialogs.js";
import { badge, empty, fill, h } from "../dom.js";
import { bytes, count, integer, kept } from "../format.js";
import { Rates } from "../metrics.js";
import { head } from "../page.js";
import { listing } from "../table.js";
import { bootstrap } from "./broker.js";

/** Rates of each topic, as `/metrics` counts them. */
export const ratesOfTopics = () =>
  new Rates({ tidewheel_topic_records_in_total: "records", tidewheel_topic_bytes_in_total: "in", tidewheel_topic_bytes_out_total: "out" }, "topic");

/** Names that do not begin with two underscores, as that of the broker's own topic does. */
const NOT_INTERNAL = "^(_?[^_]|_$)";

export function show(page) {
  const rates = ratesOfTopics();
  const rate = (family, format) => (topic) => {
    const known = rates.of(family, topic.name);
    return known === null ? "–" : `${format(known)}/s`;
  };
  const internal = h("input", { type: "checkbox", checked: page.query.get("internal") !== "0", "data-testid": "internal", onchange: () => hide() });
  const query = {};
  const choose = () => {
    query.regex = internal.checked ? null : NOT_INTERNAL;
  };
  const hide = () => {
    choose();
    page.remember({ internal: internal.checked ? null : "0" });
    list.restart();
  };
  choose();
  const none = h("div", null);
  bootstrap().then((to) => fill(none, empty("There is no topic yet. Make one above, or so:", `tidewheel topic create greetings -b ${to}`, `echo 'hello' | tidewheel produce greetings -b ${to}`)));
  const list = listing(
    page,
    { path: "/v1/topics", query, filter: "Filter topics by name", limit: 50, empty: () => none, tools: [h("label", { class: "line" }, internal, "Those that begin with __")] },
    {
      caption: "Topics",
      testid: "topics",
      key: (topic) => topic.name,
      onPick: (topic) => {
        location.hash = `#/topics/${part(topic.name)}`;
      },
      columns: [
        { id: "name", title: "Topic", sort: "name", long: true, cell: (topic) => [h("a", { href: `#/topics/${part(topic.name)}` }, topic.name), " ", topic.internal ? badge("internal") : null, topic.damaged_partitions ? badge(`${topic.damaged_partitions} damaged`, "bad") : null] },
        { id: "partitions", title: "Partitions", sort: "partitions", number: true, cell: (topic) => count(topic.partitions) },
        { id: "records", title: "Records", sort: "records", number: true, cell: (topic) => count(topic.records) },
        { id: "size", title: "Size", sort: "size_bytes", number: true, cell: (topic) => bytes(topic.size_bytes) },
        { id: "rate", title: "Records in", number: true, cell: rate("records", count) },
        { id: "in", title: "In", number: true, phoneOff: true, cell: rate("in", bytes) },
        { id: "out", title: "Out", number: true, phoneOff: true, cell: rate("out", bytes) },
        { id: "segments", title: "Segments", sort: "segments", number: true, phoneOff: true, cell: (topic) => count(topic.segments) },
        { id: "policy", title: "Cleanup", phoneOff: true, cell: (topic) => topic.cleanup_policy },
        { id: "retention", title: "Retention", sort: "retention_ms", number: true, phoneOff: true, cell: (topic) => kept(topic) ?? "–" },
      ],
    },
  );
  const create = h("button", { type: "button", class: "first", "data-testid": "create-topic", onclick: () => createTopic(list.reload) }, "Create a topic");
  page.show(head("Topics", create), list.element);
  page.every(2500, async () => {
    rates.take(await page.text({ path: "/metrics" }));
  });
}

/** `NAME=VALUE` lines as an object. */
export function settingsOf(text) {
  const lines = text.split("\n").map((line) => line.trim()).filter(Boolean);
  return Object.fromEntries(
    lines.map((line) => {
      const at = line.indexOf("=");
      if (at <= 0) throw new Error(`"${line}" is not NAME=VALUE`);
      return [line.slice(0, at).trim(), line.slice(at + 1).trim()];
    }),
  );
}

function createTopic(done) {
  action({
    title: "Create a topic",
    button: "Create",
    fields: [
      { name: "name", label: "Name", required: true, help: "Letters, digits, dots, hyphens and underscores." },
      { name: "partitions", label: "Partitions", type: "number", min: 1, placeholder: "as the broker says (num.partitions)" },
      { name: "configs", label: "Settings, one NAME=VALUE a line", type: "area", placeholder: "retention.ms=604800000\ncleanup.policy=compact\ndelay.mode=both" },
    ],
    request: (values) => {
      if (!values.name.trim()) throw new Error("A topic needs a name.");
      const body = { name: values.name.trim() };
      if (values.partitions) body.partitions = integer(values.partitions, "Partitions");
      const configs = settingsOf(values.configs);
      if (Object.keys(configs).length) body.configs = configs;
      return { method: "POST", path: "/v1/topics", body };
    },
    done: (made) => {
      done();
      return `topic ${made.name} is there`;
    },
  });
}
