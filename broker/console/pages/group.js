// One group: how far it is behind, who is in it, and where it is sent.

import { part, quoted } from "../api.js";
import { Chart } from "../chart.js";
import { action, askToDelete } from "../dialogs.js";
import { card, empty, fill, h, tile } from "../dom.js";
import { ago, count, duration, forInput, integer, time } from "../format.js";
import { head } from "../page.js";
import { listing, table } from "../table.js";
import { bootstrap } from "./broker.js";
import { stateBadge, statusBadge } from "./group_parts.js";

const CHART_MS = 3_600_000;
/** Lists come with the figures; by themselves only where these cannot be read. */
const ALONE_MS = 30_000;

export function show(page) {
  const [name] = page.params;
  const path = `/v1/groups/${part(name)}`;
  const wrong = h("div", null);
  const figures = h("div", { class: "tiles" });
  const state = { group: null };
  const chart = new Chart({ title: "Lag in records, since this page was opened", format: count, testid: "lag-chart", series: [{ name: "lag", label: "all partitions", colour: "--c2" }, { name: "max", label: "the worst one", colour: "--c3" }] });
  const spoken = (seconds) => (seconds === null || seconds === undefined ? "–" : duration(seconds * 1000));
  const late = new Chart({ title: "Lag in time, since this page was opened", format: spoken, axis: spoken, testid: "late-chart", series: [{ name: "seconds", label: "the worst partition", colour: "--c1" }] });
  page.closers.push(() => [chart, late].forEach((one) => one.close()));
  const offsets = lags(page, name, path);
  const members = memberList(page, name, path, state);
  const actions = [
    h("button", { type: "button", class: "first", "data-testid": "reset", onclick: () => seek(name, path, state, () => reload()) }, "Move offsets…"),
    h("button", { type: "button", class: "danger", "data-testid": "delete-group", onclick: () => remove(name, path) }, "Delete"),
  ];
  page.show(
    head(h("span", null, h("a", { href: "#/groups", class: "crumb" }, "Groups / "), name), actions),
    wrong,
    figures,
    card("Offsets", offsets.element),
    h("div", { class: "two" }, chart.element, late.element),
    card("Members", members.element),
  );
  // Figures and lists are of one moment: who reads both is not to see two lags.
  const reload = page.refresh(3000, wrong, async () => {
    const group = await page.get(path);
    state.group = group;
    fill(figures, tiles(group));
    chart.push(Date.now(), { lag: group.total_lag, max: group.max_lag }, CHART_MS);
    late.push(Date.now(), { seconds: group.max_lag_seconds }, CHART_MS);
    await Promise.all([offsets.reload(), members.reload()]);
  });
}

function tiles(group) {
  return [
    tile("State", stateBadge(group.state), { more: [group.type, group.protocol].filter(Boolean).join(", "), testid: "tile-state" }),
    tile("Status", statusBadge(group.status), { testid: "tile-status" }),
    tile("Members", count(group.members)),
    tile("Lag", count(group.total_lag), { more: group.max_lag ? `${count(group.max_lag)} in the worst partition` : null, testid: "tile-lag" }),
    tile("Lag in time", group.max_lag_seconds === null ? "–" : group.max_lag_seconds === 0 ? "none" : duration(group.max_lag_seconds * 1000)),
    tile("Offsets", count(group.offsets)),
  ];
}

function lags(page, name, path) {
  let most = 1;
  const commits = h("div", null);
  bootstrap().then((to) => fill(commits, empty("This group has committed nothing yet. This reads a topic and commits:", `tidewheel consume greetings -g ${quoted(name)} -e -b ${to}`)));
  return listing(
    page,
    {
      path: `${path}/lag`,
      limit: 100,
      every: ALONE_MS,
      empty: () => commits,
    },
    {
      caption: "Offsets by partition",
      testid: "lag",
      key: (one) => `${one.topic}-${one.partition}`,
      columns: [
        { id: "topic", title: "Topic", long: true, cell: (one) => h("a", { href: `#/topics/${part(one.topic)}` }, one.topic) },
        { id: "partition", title: "Partition", number: true, cell: (one) => one.partition },
        { id: "committed", title: "Committed", number: true, cell: (one) => [count(one.committed_offset), one.is_beyond_end ? h("div", { class: "bad-text" }, "behind the end") : null] },
        { id: "end", title: "End", number: true, cell: (one) => count(one.log_end_offset) },
        {
          id: "lag",
          title: "Lag",
          number: true,
          cell: (one) => {
            most = Math.max(most, one.lag ?? 0);
            return [h("span", { class: "lagbar" }, h("span", { style: { width: `${((one.lag ?? 0) / most) * 100}%` } })), count(one.lag)];
          },
        },
        { id: "seconds", title: "Lag in time", number: true, cell: (one) => (one.lag_seconds === null ? "–" : one.lag_seconds === 0 ? "none" : duration(one.lag_seconds * 1000)) },
        { id: "status", title: "Status", cell: (one) => statusBadge(one.status) },
        { id: "commit", title: "Last commit", tight: true, phoneOff: true, cell: (one) => h("span", { title: time(one.last_commit_ms) }, ago(one.last_commit_ms)) },
        { id: "member", title: "Read by", long: true, phoneOff: true, cell: (one) => (one.client_id ? `${one.client_id} ${one.client_host ?? ""}` : "nobody") },
      ],
    },
  );
}

function memberList(page, name, path, state) {
  let to = "127.0.0.1:9092";
  bootstrap().then((known) => {
    to = known;
  });
  const nobody = () => {
    const topic = state.group?.partitions?.[0]?.topic ?? "greetings";
    return empty("Nobody is in it now: its offsets can be moved. A member that reads on:", `tidewheel consume ${quoted(topic)} -g ${quoted(name)} -b ${to}`);
  };
  return listing(
    page,
    { path: `${path}/members`, limit: 50, every: ALONE_MS, empty: nobody },
    {
      caption: "Members",
      key: (one) => one.member_id,
      columns: [
        { id: "client", title: "Client", long: true, cell: (one) => one.client_id },
        { id: "host", title: "Address", cell: (one) => one.client_host },
        { id: "instance", title: "Instance", phoneOff: true, cell: (one) => one.instance_id ?? "" },
        { id: "assignment", title: "Reads", long: true, cell: (one) => one.assignment.map((some) => `${some.topic}: ${ranges(some.partitions)}`).join("; ") || "–" },
        { id: "id", title: "Member", long: true, phoneOff: true, cell: (one) => h("code", null, one.member_id) },
      ],
    },
  );
}

/** `0-5, 9` */
export function ranges(numbers) {
  const parts = [];
  for (const number of [...numbers].sort((a, b) => a - b)) {
    const last = parts.at(-1);
    if (last && last[1] === number - 1) last[1] = number;
    else parts.push([number, number]);
  }
  return parts.map(([from, to]) => (from === to ? `${from}` : `${from}-${to}`)).join(", ");
}

/** `0-5, 9` as numbers. */
export function numbers(text) {
  return text.split(",").flatMap((one) => {
    const found = /^\s*(\d+)(?:\s*-\s*(\d+))?\s*$/.exec(one);
    if (!found) throw new Error("Partitions: 0, 3 or 0-5, with commas");
    const [from, to] = [Number(found[1]), Number(found[2] ?? found[1])];
    if (to < from || to - from >= 10_000) throw new Error("Partitions: 0, 3 or 0-5, with commas");
    return Array.from({ length: to - from + 1 }, (_, index) => from + index);
  });
}

function seek(name, path, state, done) {
  const topics = [...new Set((state.group?.partitions ?? []).map((one) => one.topic))];
  const members = state.group?.members ?? 0;
  action({
    title: `Move offsets of ${name}`,
    button: "Move them",
    text: members
      ? h("div", { class: "note warn" }, `It has ${count(members)} members. Stop them first: offsets move only while nobody is in the group. A dry run tells what the broker says.`)
      : h("p", null, "Nobody is in the group. A dry run shows where it was and where it would be."),
    fields: [
      { name: "to", label: "To", options: [["start", "the first record"], ["end", "the end: skip everything"], ["offset", "an offset"], ["time", "a time"], ["shift", "forward or back by some records"]] },
      { name: "offset", label: "Offset", type: "number", min: 0, value: 0, when: (now) => now.to === "offset" },
      { name: "time", label: "Time (of this machine)", type: "datetime-local", step: "1", value: forInput(Date.now() - 3_600_000), when: (now) => now.to === "time" },
      { name: "shift", label: "Records, with - for back", type: "number", value: -100, when: (now) => now.to === "shift" },
      { name: "topic", label: "In", options: [["", "all its topics"], ...topics] },
      { name: "partitions", label: "Partitions (all where it is empty)", placeholder: "0, 3, 5-9", when: (now) => now.topic !== "" },
    ],
    request: (values) => {
      const to = {
        start: () => "start",
        end: () => "end",
        offset: () => ({ offset: integer(values.offset, "Offset") }),
        time: () => ({ timestamp_ms: new Date(values.time).getTime() }),
        shift: () => ({ shift: integer(values.shift, "Records") }),
      }[values.to]();
      if (Number.isNaN(to.timestamp_ms)) throw new Error("A date and a time.");
      const body = { to };
      if (values.topic) {
        body.topics = [{ topic: values.topic }];
        if (values.partitions.trim()) body.topics[0].partitions = numbers(values.partitions);
      }
      return { method: "POST", path: `${path}/offsets:seek`, body };
    },
    preview: moves,
    done: (result) => {
      done();
      return `${count(result.partitions.length)} offsets are moved`;
    },
  });
}

/** Where the offsets were and where they would be. */
function moves(result) {
  const rows = table({
    caption: "Before and after",
    testid: "moves",
    key: (one) => `${one.topic}-${one.partition}`,
    columns: [
      { id: "topic", title: "Topic", long: true, cell: (one) => one.topic },
      { id: "partition", title: "Partition", number: true, cell: (one) => one.partition },
      { id: "before", title: "Now", number: true, cell: (one) => count(one.before) },
      { id: "after", title: "Then", number: true, cell: (one) => h("strong", null, count(one.after)) },
      { id: "move", title: "Moves by", number: true, cell: (one) => (one.before === null ? "–" : `${one.after >= one.before ? "+" : ""}${count(one.after - one.before)}`) },
      { id: "left", title: "Lag then", number: true, cell: (one) => count(Math.max(0, one.log_end_offset - one.after)) },
    ],
  });
  rows.update(result.partitions.slice(0, 1000));
  return rows.element;
}

function remove(name, path) {
  const text = "Its offsets go: whoever uses the name again begins where auto.offset.reset says.";
  askToDelete({ name, path, text, then: "#/groups", told: `group ${name} is deleted` });
}
