// Where the bytes are: disks, topics, and the segments of a partition.

import { call, curl, part } from "../api.js";
import { action, open } from "../dialogs.js";
import { card, command, empty, fill, h, problem, tile } from "../dom.js";
import { offers } from "../features.js";
import { ago, bytes, count, duration, kept, time } from "../format.js";
import { head } from "../page.js";
import { listing, table } from "../table.js";
import { bootstrap } from "./broker.js";

/** For how long free space was seen before something follows from it. */
const KNOWN_MS = 600_000;
/** Segments of a picture: more are told in the list only. */
const PICTURE_MAX = 1000;

export function show(page) {
  const wrong = h("div", null);
  const disks = h("div", null);
  const topics = h("div", null);
  const map = h("div", null);
  page.show(head("Storage"), wrong, disks, map, topics);
  page.refresh(10_000, wrong, async () => {
    const [overview, stats] = await Promise.all([page.get("/v1/overview"), page.get("/v1/stats", { range: "1h", series: "disk_free_bytes,size_bytes" })]);
    fill(disks, diskTiles(overview, stats));
  });
  topics.append(largest(page));
  const topic = page.query.get("topic");
  if (topic) segments(page, map, topic, Number(page.query.get("partition") ?? 0));
}

function diskTiles(overview, stats) {
  const each = overview.disks.map((disk) =>
    disk.offline
      ? tile(disk.log_dir, "offline", { more: disk.offline, kind: "bad" })
      : tile(`Free on ${disk.log_dir}`, bytes(disk.free_bytes), { more: `of ${bytes(disk.total_bytes)}; room is made below ${bytes(disk.low_bytes)}`, kind: disk.free_bytes < disk.low_bytes ? "bad" : null }),
  );
  return h("div", { class: "tiles" }, [tile("Segments of all topics", bytes(overview.size_bytes)), each, tile("At this rate", forecast(overview, stats), { more: "as in the last hour, at most" })]);
}

/** When the disk is full, if it goes on like this. */
export function forecast(overview, stats) {
  const free = stats.series.find((one) => one.name === "disk_free_bytes");
  const known = stats.times_ms.map((at, index) => [at, free?.values[index]]).filter(([, value]) => value !== null && value !== undefined);
  const [[from, before], [to, now]] = [known[0] ?? [0, 0], known.at(-1) ?? [0, 0]];
  if (to - from < KNOWN_MS) return "not known yet";
  const byMs = (before - now) / (to - from);
  if (byMs <= 0) return "it does not fill up";
  const reserved = Math.max(0, ...overview.disks.map((disk) => disk.reserved_bytes));
  const left = Math.max(0, now - reserved) / byMs;
  return left > 365 * 86_400_000 ? "room for over a year" : `full in ${duration(left)}`;
}

function largest(page) {
  let most = 1;
  const none = h("div", null);
  bootstrap().then((to) => fill(none, empty("There is no topic yet. Make one, and produce a record:", `tidewheel topic create greetings -b ${to}`, `echo 'hello' | tidewheel produce greetings -b ${to}`)));
  const list = listing(
    page,
    { path: "/v1/topics", filter: "Filter topics by name", sort: "-size_bytes", limit: 20, every: 10_000, empty: () => none },
    {
      caption: "Topics by size",
      testid: "sizes",
      key: (one) => one.name,
      onPick: (one) => {
        location.hash = `#/storage?topic=${part(one.name)}&partition=0`;
      },
      columns: [
        { id: "name", title: "Topic", sort: "name", long: true, cell: (one) => h("a", { href: `#/storage?topic=${part(one.name)}&partition=0` }, one.name) },
        {
          id: "size",
          title: "Size",
          sort: "size_bytes",
          number: true,
          cell: (one) => {
            most = Math.max(most, one.size_bytes ?? 0);
            return [h("span", { class: "lagbar" }, h("span", { style: { width: `${((one.size_bytes ?? 0) / most) * 100}%` } })), bytes(one.size_bytes)];
          },
        },
        { id: "records", title: "Records", sort: "records", number: true, cell: (one) => count(one.records) },
        { id: "segments", title: "Segments", sort: "segments", number: true, cell: (one) => count(one.segments) },
        { id: "partitions", title: "Partitions", sort: "partitions", number: true, phoneOff: true, cell: (one) => count(one.partitions) },
        { id: "damaged", title: "Damaged", sort: "damaged_partitions", number: true, cell: (one) => (one.damaged_partitions ? h("span", { class: "bad-text" }, one.damaged_partitions) : "") },
        { id: "policy", title: "Cleanup", phoneOff: true, cell: (one) => [one.cleanup_policy, kept(one)].filter(Boolean).join(", ") },
      ],
    },
  );
  return card("Topics by size", list.element);
}

/** The segments of a partition, to scale and as a list. */
function segments(page, place, topic, partition) {
  const wrong = h("div", null);
  const picture = h("div", null);
  const path = `/v1/topics/${part(topic)}/partitions/${partition}`;
  /** For how long records are kept at least, in ms; `null` where age deletes none. */
  let keptMs = null;
  const goes = (one) => (keptMs === null || one.state !== "sealed" || one.last_timestamp_ms === null ? "–" : h("span", { title: time(one.last_timestamp_ms + keptMs) }, ago(one.last_timestamp_ms + keptMs)));
  const list = table({
    caption: "Segments",
    testid: "segments",
    key: (one) => String(one.base_offset),
    columns: [
      { id: "base", title: "First offset", number: true, cell: (one) => count(one.base_offset) },
      { id: "last", title: "Last offset", number: true, cell: (one) => count(one.last_offset) },
      { id: "size", title: "Size", number: true, cell: (one) => bytes(one.size_bytes) },
      { id: "state", title: "State", cell: (one) => one.state },
      { id: "disk", title: "On the disk", number: true, cell: (one) => (one.flushed_bytes === one.size_bytes ? "all" : bytes(one.flushed_bytes)) },
      { id: "first", title: "Oldest record", tight: true, phoneOff: true, cell: (one) => time(one.first_timestamp_ms) },
      { id: "newest", title: "Newest record", tight: true, cell: (one) => h("span", { title: time(one.last_timestamp_ms) }, ago(one.last_timestamp_ms)) },
      { id: "goes", title: "Goes by age", tight: true, cell: goes },
      { id: "file", title: "File", phoneOff: true, cell: (one) => h("code", null, `${String(one.base_offset).padStart(20, "0")}.log`) },
    ],
  });
  const number = h("input", {
    type: "number",
    min: 0,
    value: partition,
    "aria-label": "Partition",
    onchange: () => {
      location.hash = `#/storage?topic=${part(topic)}&partition=${number.value}`;
    },
  });
  const tools = h("span", { class: "row" });
  const template = "/v1/topics/{topic}/partitions/{partition}";
  offers("POST", `${template}:roll`).then((can) => can && tools.append(h("button", { type: "button", "data-testid": "roll", onclick: () => roll(path, () => reload()) }, "Begin a new segment…")));
  offers("POST", `${template}:verify`).then((can) => can && tools.append(h("button", { type: "button", "data-testid": "verify", onclick: () => verify(path) }, "Check it…")));
  fill(
    place,
    card(
      ["Segments of ", h("a", { href: `#/topics/${part(topic)}` }, topic)],
      h("div", { class: "row" }, h("label", null, "Partition", number), tools),
      wrong,
      picture,
      list.element,
    ),
  );
  const reload = page.refresh(5000, wrong, async () => {
    const [all, one, told] = await Promise.all([page.get(`/v1/topics/${part(topic)}`), page.get(path), page.get(`${path}/segments`, { limit: PICTURE_MAX })]);
    keptMs = all.cleanup_policy.includes("delete") && all.retention_ms >= 0 ? all.retention_ms : null;
    fill(picture, draw(one, told));
    list.update(told.items.slice(-200).reverse());
  });
}

function draw(partition, told) {
  const most = Math.max(1, ...told.items.map((one) => one.size_bytes));
  const blocks = told.items.map((one) =>
    h("span", {
      class: `segment ${one.state === "active" ? "active" : ""} ${one.flushed_bytes < one.size_bytes ? "unflushed" : ""}`,
      style: { width: `${6 + (one.size_bytes / most) * 90}px` },
      title: `from ${count(one.base_offset)}: ${bytes(one.size_bytes)}, ${one.state}, newest record ${time(one.last_timestamp_ms)}`,
    }),
  );
  const goes = partition.retention_next_delete_ms;
  return h(
    "div",
    { "data-testid": "segment-map" },
    h("p", { class: "soft" }, `${count(told.total)} segments, ${bytes(partition.size_bytes)}, offsets ${count(partition.log_start_offset)} to ${count(partition.log_end_offset)}, in ${partition.log_dir ?? "no directory yet"}. `, goes === null ? "None is due to be deleted by age." : `The oldest goes ${ago(goes)}.`),
    partition.damaged ? h("div", { class: "note bad", role: "alert" }, `Damaged: ${partition.refusal ?? "it is kept for reading only"}`) : null,
    h("div", { class: "segments", role: "img", "aria-label": `${told.items.length} segments, the oldest first, to scale` }, blocks),
    h("p", { class: "soft" }, "To scale, the oldest first; orange is written to, violet is not on the disk yet."),
  );
}

function roll(path, done) {
  action({
    title: "Begin a new segment",
    button: "Begin it",
    text: h("p", null, "Retention and compaction may take what the active segment holds."),
    request: () => ({ method: "POST", path: `${path}:roll` }),
    done: (result) => {
      done();
      return result.rolled ? `the active segment begins at ${count(result.base_offset)}` : "the active segment holds nothing";
    },
  });
}

/** Reads and checks a partition, request by request. */
function verify(path) {
  const request = { method: "POST", path: `${path}:verify`, query: { dry_run: true } };
  const outcome = h("div", { "aria-live": "polite", "data-testid": "verified" });
  const go = h("button", { type: "button", class: "first", onclick: run }, "Check it");
  const dialog = open(
    "Check the partition",
    h("p", null, "Every batch on the disk is read and compared with its checksum. Damage is told here; nothing else follows from it."),
    outcome,
    command(curl(request), "curl"),
    h("div", { class: "buttons" }, h("button", { type: "button", onclick: () => dialog.close() }, "Close"), go),
  );
  go.focus();
  async function run() {
    go.disabled = true;
    const sums = { batches: 0, bytes: 0 };
    try {
      for (let from = null; dialog.open; ) {
        const told = await call({ ...request, query: { ...request.query, from_offset: from } });
        sums.batches += told.batches;
        sums.bytes += told.checked_bytes;
        const text = `${count(sums.batches)} batches, ${bytes(sums.bytes)} of ${bytes(told.size_bytes)}`;
        const done = told.next_offset === null;
        const [kind, words] = told.damage ? ["bad", `Damaged: ${told.damage}`] : [done ? "good" : "", done ? "All is as it was written." : "reading…"];
        fill(outcome, h("div", { class: `note ${kind}` }, `${words} ${text}`));
        if (done) break;
        from = told.next_offset;
      }
    } catch (error) {
      fill(outcome, problem(error));
    }
    go.disabled = false;
  }
}
