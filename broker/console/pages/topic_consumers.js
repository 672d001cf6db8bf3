// Who reads a topic, and which idempotent producers it remembers.

import { part, quoted } from "../api.js";
import { card, empty, fill, h } from "../dom.js";
import { ago, count, time } from "../format.js";
import { listing } from "../table.js";
import { bootstrap } from "./broker.js";
import { stateBadge, statusBadge } from "./group_parts.js";

export function show(page, place, topic) {
  const nobodyReads = h("div", null);
  const nobody = h("div", null);
  bootstrap().then((to) => {
    fill(nobodyReads, empty("No group has committed an offset here. This one reads the topic and commits:", `tidewheel consume ${quoted(topic.name)} -g my-group -e -b ${to}`));
    fill(nobody, empty("None. Producers with enable.idempotence=true are remembered, as this one:", `echo 'hello' | tidewheel produce ${quoted(topic.name)} -b ${to}`));
  });
  const groups = listing(
    page,
    { path: `/v1/topics/${part(topic.name)}/groups`, limit: 50, every: 30_000, empty: () => nobodyReads },
    {
      caption: `Groups that read ${topic.name}`,
      testid: "consumers",
      key: (one) => one.group,
      columns: [
        { id: "group", title: "Group", long: true, cell: (one) => h("a", { href: `#/groups/${part(one.group)}` }, one.group) },
        { id: "state", title: "State", cell: (one) => stateBadge(one.state) },
        { id: "status", title: "Status", cell: (one) => statusBadge(one.status) },
        { id: "partitions", title: "Partitions with an offset", number: true, cell: (one) => count(one.partitions) },
        { id: "lag", title: "Lag", number: true, cell: (one) => count(one.total_lag) },
        { id: "worst", title: "Furthest behind", number: true, cell: (one) => (one.max_lag ? `partition ${one.max_lag_partition}: ${count(one.max_lag)}` : "–") },
      ],
    },
  );
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
  fill(place, card("Groups with offsets in this topic", groups.element), card("Idempotent producers", producers.element));
}
