// Who reads a topic, and which idempotent producers it remembers.

import { part, quoted } from "../api.js";
import { card, empty, fill, h } from "../dom.js";
import { ago, count, time } from "../format.js";
import { samples } from "../metrics.js";
import { listing, table } from "../table.js";
import { bootstrap } from "./broker.js";

export function show(page, place, topic) {
  const wrong = h("div", null);
  const none = h("div", null);
  const nobody = h("div", null);
  bootstrap().then((to) => fill(nobody, empty("None. Producers with enable.idempotence=true are remembered, as this one:", `echo 'hello' | tidewheel produce ${quoted(topic.name)} -b ${to}`)));
  const rows = table({
    caption: `Groups that read ${topic.name}`,
    testid: "consumers",
    key: (one) => one.group,
    columns: [
      { id: "group", title: "Group", long: true, cell: (one) => h("a", { href: `#/groups/${part(one.group)}` }, one.group) },
      { id: "partitions", title: "Partitions with an offset", number: true, cell: (one) => count(one.partitions) },
      { id: "lag", title: "Lag", number: true, cell: (one) => count(one.lag) },
      { id: "worst", title: "Furthest behind", number: true, cell: (one) => `partition ${one.worst.partition}: ${count(one.worst.lag)}` },
    ],
  });
  const producers = listing(
    page,
    { path: "/v1/producers", query: { topic: topic.name }, limit: 50, every: 10_000, empty: () => nobody },
    {
      caption: `Idempotent producers of ${topic.name}`,
      testid: "producers",
      key: (one) => `${one.partition}-${one.producer_id}`,
      columns: [
        { id: "id", title: "Producer", number: true, cell: (one) => one.producer_id },
        { id: "epoch", title: "Epoch", number: true, cell: (one) => one.producer_epoch },
        { id: "partition", title: "Partition", number: true, cell: (one) => one.partition },
        { id: "sequence", title: "Last sequence", number: true, cell: (one) => count(one.last_sequence) },
        { id: "last", title: "Last append", cell: (one) => h("span", { title: time(one.last_append_ms) }, ago(one.last_append_ms)) },
      ],
    },
  );
  fill(place, card("Groups with offsets in this topic", wrong, none, rows.element), card("Idempotent producers", producers.element));
  page.refresh(30_000, wrong, async () => {
    const groups = readers(await page.text({ path: "/metrics/detailed" }), topic.name);
    rows.element.hidden = groups.length === 0;
    rows.update(groups);
    const to = await bootstrap();
    fill(none, groups.length ? null : empty("No group has committed an offset here.", `tidewheel consume ${quoted(topic.name)} -g my-group -e -b ${to}`));
  });
}

/** Groups by their lag in a topic, from the page of metrics that has every offset that was committed. */
export function readers(text, topic) {
  const groups = new Map();
  for (const { labels, value } of samples(text, ["tidewheel_group_lag"])) {
    if (labels.topic !== topic) continue;
    const group = groups.get(labels.group) ?? { group: labels.group, partitions: 0, lag: 0, worst: { partition: "–", lag: 0 } };
    group.partitions += 1;
    group.lag += Math.max(0, value);
    if (value >= group.worst.lag) group.worst = { partition: labels.partition, lag: value };
    groups.set(labels.group, group);
  }
  return [...groups.values()].sort((a, b) => b.lag - a.lag || a.group.localeCompare(b.group));
}
