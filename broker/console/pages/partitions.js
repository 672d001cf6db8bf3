// The partitions of a topic.

import { part } from "../api.js";
import { action } from "../dialogs.js";
import { badge, fill, h } from "../dom.js";
import { ago, bytes, count, integer, time } from "../format.js";
import { listing } from "../table.js";

export function show(page, place, topic) {
  const path = `/v1/topics/${part(topic.name)}/partitions`;
  const list = listing(
    page,
    { path, limit: 50, empty: () => h("p", null, "none") },
    {
      caption: `Partitions of ${topic.name}`,
      testid: "partitions",
      key: (one) => String(one.partition),
      columns: [
        { id: "partition", title: "Partition", number: true, cell: (one) => h("a", { href: `#/topics/${part(topic.name)}?partition=${one.partition}` }, one.partition) },
        { id: "start", title: "First offset", number: true, cell: (one) => count(one.log_start_offset) },
        { id: "end", title: "End", number: true, cell: (one) => count(one.high_watermark) },
        { id: "records", title: "Records", number: true, cell: (one) => count(one.high_watermark - one.log_start_offset) },
        { id: "size", title: "Size", number: true, cell: (one) => [bytes(one.size_bytes), h("div", null, segments(topic, one)), one.unflushed_bytes ? h("div", { class: "soft" }, `${bytes(one.unflushed_bytes)} not on the disk`) : null] },
        { id: "last", title: "Newest record", tight: true, phoneOff: true, cell: (one) => h("span", { title: time(one.last_timestamp_ms) }, ago(one.last_timestamp_ms)) },
        { id: "retention", title: "Oldest goes", tight: true, phoneOff: true, cell: (one) => (one.retention_next_delete_ms === null ? "–" : ago(one.retention_next_delete_ms)) },
        { id: "epoch", title: "Epoch", number: true, phoneOff: true, cell: (one) => one.leader_epoch },
        { id: "producers", title: "Producers", number: true, phoneOff: true, cell: (one) => count(one.producers) },
        { id: "state", title: "State", cell: (one) => (one.damaged ? badge("damaged", "bad") : one.refusal ? h("span", { class: "bad-text" }, one.refusal) : badge("ok", "good")) },
        {
          id: "actions",
          title: "Actions",
          tight: true,
          acts: true,
          cell: (one) => h("button", { type: "button", class: "small danger", onclick: () => deleteRecords(path, one, () => list.reload()) }, "Delete records…"),
        },
      ],
    },
  );
  fill(place, list.element);
}

function segments(topic, one) {
  return h("a", { href: `#/storage?topic=${part(topic.name)}&partition=${one.partition}` }, one.segments === 1 ? "1 segment" : `${count(one.segments)} segments`);
}

function deleteRecords(path, partition, done) {
  action({
    title: `Delete records of partition ${partition.partition}`,
    button: "Delete them",
    danger: true,
    text: h("p", null, `It has the offsets ${count(partition.log_start_offset)} to ${count(partition.high_watermark)}. The first ones go; files follow when all in them is deleted.`),
    fields: [
      { name: "before", label: "Delete", options: [["offset", "all before an offset"], ["end", "everything"]] },
      { name: "offset", label: "Offset of the first record that stays", type: "number", min: partition.log_start_offset, max: partition.high_watermark, value: partition.log_start_offset, when: (now) => now.before === "offset" },
    ],
    request: (values) => ({
      method: "POST",
      path: `${path}/${partition.partition}:delete-records`,
      body: { before: values.before === "end" ? "end" : { offset: integer(values.offset, "Offset") } },
    }),
    preview: (result) => h("p", null, `The first record would have the offset ${count(result.log_start_offset)}, now ${count(result.before)}.`),
    done: (result) => {
      done();
      return `the first record has the offset ${count(result.log_start_offset)} now`;
    },
  });
}
