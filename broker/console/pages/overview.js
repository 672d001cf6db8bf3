// How the broker stands, at a glance.

import { part } from "../api.js";
import { Chart } from "../chart.js";
import { card, empty, facts, fill, h, problem, tile } from "../dom.js";
import { ago, bytes, count, duration, ofSeries, time } from "../format.js";
import { Latencies } from "../metrics.js";
import { head } from "../page.js";
import { table } from "../table.js";
import { bootstrap } from "./broker.js";
import { nextSaid, toDeliver } from "./delayed.js";
import { statusBadge } from "./group_parts.js";

const RANGES = [["1m", 60_000, "1s"], ["5m", 300_000, "1s"], ["1h", 3_600_000, "5s"], ["8h", 28_800_000, "1m"], ["1d", 86_400_000, "1m"]];

/** How often charts ask for what came where no stream tells it. */
const POLL_MS = 5000;

const CHARTS = [
  { title: "Records in", testid: "chart-records", series: [["records_in_per_second", "in", "--c1"]] },
  { title: "Bytes in and out", testid: "chart-bytes", bytes: true, series: [["bytes_in_per_second", "in", "--c1"], ["bytes_out_per_second", "out", "--c2"]] },
  { title: "Requests", testid: "chart-requests", series: [["requests_per_second", "all", "--c1"], ["produce_requests_per_second", "produce", "--c3"], ["fetch_requests_per_second", "fetch", "--c4"], ["request_errors_per_second", "with an error", "--c2"]] },
  { title: "Requests in flight", series: [["requests_in_flight", "in flight", "--c3"]] },
  { title: "Connections", series: [["connections", "open", "--c4"]] },
  { title: "Disk: segments and what is free", bytes: true, series: [["size_bytes", "segments", "--c1"], ["disk_free_bytes", "free", "--c4"]] },
  { title: "Not on the disk yet", bytes: true, series: [["unflushed_bytes", "unflushed", "--c3"]] },
  { title: "Memory", bytes: true, series: [["memory_resident_bytes", "resident", "--c1"]] },
  { title: "Processors used", series: [["processors_used", "busy", "--c2"]] },
  { title: "Delayed records", series: [["delayed_pending", "kept until due", "--c3"], ["delayed_delivered_per_second", "delivered", "--c4"]] },
];

const QUANTILES = [["p50", "p50", "--c1"], ["p99", "p99", "--c2"], ["p999", "p99.9", "--c3"]];
for (const [name, title] of [["produce", "Produce takes"], ["fetch", "Fetch takes, with its wait"], ["flush", "Rounds of syncs take"]]) {
  CHARTS.push({ title, testid: `chart-${name}`, seconds: true, series: QUANTILES.map(([part, label, colour]) => [`${name}_${part}_seconds`, label, colour]) });
}

/** Seconds in words. */
const spoken = (seconds) => (seconds === null || seconds === undefined ? "–" : duration(seconds * 1000));

export function show(page) {
  const wrong = h("div", null);
  const top = h("div", null);
  const below = h("div", null);
  const plots = charts(page);
  page.show(head("Overview", plots.picker), wrong, top, plots.element, below);
  const times = latencies(page);
  const lower = { disks: h("div", null), lag: h("div", null), about: h("div", null) };
  below.append(h("div", { class: "two" }, times, lower.lag, lower.disks, lower.about));
  page.refresh(4000, wrong, async () => {
    const [overview, delayed, info] = await Promise.all([
      page.get("/v1/overview"),
      page.get("/v1/delayed").catch(() => null),
      page.get("/v1/info"),
    ]);
    fill(top, alarms(overview), await first(overview), tiles(overview, delayed, info));
    fill(lower.lag, worst(overview, await bootstrap()));
    fill(lower.disks, disks(overview));
    fill(lower.about, about(info));
  });
}

function alarms(overview) {
  if (!overview.alarms.length) return null;
  return h(
    "div",
    { class: "note warn", role: "alert", "data-testid": "alarms" },
    h("strong", null, "Look at this"),
    h("ul", null, overview.alarms.map((alarm) => h("li", null, `${alarm.check}: ${alarm.detail ?? "not as it should be"}`))),
  );
}

async function first(overview) {
  if (overview.topics > 0) return null;
  const to = await bootstrap();
  return card(
    "First records",
    empty(
      "There is no topic yet. Make one, produce a record and read it; kcat reads it too, as every client of Kafka does.",
      `tidewheel topic create greetings -b ${to}`,
      `echo 'hello' | tidewheel produce greetings -b ${to}`,
      `tidewheel consume greetings -e -b ${to}`,
      `kcat -b ${to} -C -t greetings -o beginning -e`,
    ),
  );
}

function tiles(overview, delayed, info) {
  const groups = Object.entries(overview.groups);
  const lag = overview.worst_lag[0];
  const open = overview.disks.filter((disk) => disk.free_bytes !== null);
  const least = open.length ? Math.min(...open.map((disk) => disk.free_bytes)) : null;
  return h("div", { class: "tiles" }, [
    tile("State", overview.broker_state, { more: `up ${duration(info.uptime_ms)}`, kind: overview.broker_state === "RUNNING" ? null : "warn" }),
    tile("Topics", count(overview.topics), { more: `${count(overview.partitions)} partitions`, href: "#/topics", testid: "tile-topics" }),
    tile("Records", count(overview.records), { more: bytes(overview.size_bytes), href: "#/storage" }),
    tile("Groups", count(groups.reduce((sum, [, many]) => sum + many, 0)), { more: groups.filter(([, many]) => many).map(([state, many]) => `${many} ${state}`).join(", "), href: "#/groups" }),
    tile("Worst lag", lag ? count(lag.total_lag) : "0", { more: lag ? lag.group : "nobody is behind", href: lag ? `#/groups/${part(lag.group)}` : "#/groups", kind: lag && ["STOP", "STALL"].includes(lag.status) ? "bad" : null }),
    tile("Connections", count(overview.connections), { href: "#/connections" }),
    delayed ? tile("Delayed", count(toDeliver(delayed)), { more: delayed.overdue ? `${count(delayed.overdue)} overdue` : nextSaid(delayed.next_due_ms), href: "#/delayed", kind: delayed.overdue ? "warn" : null }) : null,
    tile("Disk free", bytes(least), { href: "#/storage", kind: open.some((disk) => disk.free_bytes < disk.low_bytes) ? "bad" : null }),
    tile("Damaged partitions", count(overview.damaged_partitions), { kind: overview.damaged_partitions ? "bad" : null, href: "#/storage" }),
  ]);
}

function charts(page) {
  const made = CHARTS.map((one) => {
    const series = one.series.map(([name, label, colour]) => ({ name, label, colour }));
    const times = one.seconds ? { format: spoken, axis: spoken } : { format: one.bytes ? ofSeries(one.series[0][0]) : count };
    return new Chart({ ...one, ...times, series });
  });
  page.closers.push(() => made.forEach((chart) => chart.close()));
  let chosen = RANGES.find(([name]) => name === page.query.get("range")) ?? RANGES[1];
  let gathered = [];
  const wrong = h("div", null);
  const state = h("span", { class: "badge", "data-testid": "stream" }, "…");
  const buttons = RANGES.map((range) =>
    h("button", { type: "button", class: "small", "aria-pressed": String(range === chosen), onclick: () => choose(range) }, range[0]),
  );
  const picker = h("div", { class: "row" }, state, h("div", { class: "group", role: "group", "aria-label": "How far back" }, buttons));

  async function load() {
    const [name, , step] = chosen;
    const told = await page.get("/v1/stats", { range: name, step });
    if (chosen[0] !== name) return;
    const columns = Object.fromEntries(told.series.map((one) => [one.name, one.values]));
    made.forEach((chart) => chart.set(told.times_ms, columns));
    wrong.replaceChildren();
  }
  function choose(range) {
    chosen = range;
    buttons.forEach((button, index) => button.setAttribute("aria-pressed", String(RANGES[index] === range)));
    page.remember({ range: range === RANGES[1] ? null : range[0] });
    gathered = [];
    reload();
  }
  const reload = () => load().catch((error) => page.isClosed || fill(wrong, problem(error)));
  /** Points of longer charts are means of those that come. */
  function take(event) {
    const step = { "1s": 1, "5s": 5, "1m": 60 }[chosen[2]];
    gathered.push(event.values);
    if (gathered.length < step) return;
    const names = Object.keys(event.values);
    const mean = (name) => {
      const known = gathered.map((values) => values[name]).filter((value) => value !== null && value !== undefined);
      return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
    };
    const values = Object.fromEntries(names.map((name) => [name, mean(name)]));
    gathered = [];
    made.forEach((chart) => chart.push(event.time_ms, values, chosen[1]));
  }

  // There are so many streams and no more: whoever gets none asks now and again.
  let isLive = false;
  page.every(POLL_MS, async () => {
    if (!isLive) await reload();
  });
  page.follow({
    path: "/v1/stats/stream",
    onEvent: (_, event) => take(event),
    onState: (now, detail) => {
      isLive = now === "live";
      state.textContent = now === "refused" ? `each ${POLL_MS / 1000} s` : now;
      state.className = `badge ${now === "live" ? "good" : "warn"}`;
      state.title = detail ?? "";
      // What came while nobody looked is in the history.
      if (now === "live") reload();
    },
  });
  return { picker, element: h("div", null, wrong, h("div", { class: "grid" }, made.map((chart) => chart.element))) };
}

function latencies(page) {
  const seen = new Latencies("tidewheel_request_duration_seconds", (labels) => (labels.phase === "total" ? labels.api : null));
  const place = h("div", null);
  const rows = table({
    caption: "Latency of requests",
    key: (row) => row.api,
    columns: [
      { id: "api", title: "API", cell: (row) => row.api },
      { id: "count", title: "Requests", number: true, cell: (row) => count(row.count) },
      { id: "p50", title: "p50", number: true, cell: (row) => duration(row.p50 * 1000) },
      { id: "p99", title: "p99", number: true, cell: (row) => duration(row.p99 * 1000) },
      { id: "p999", title: "p99.9", number: true, cell: (row) => duration(row.p999 * 1000) },
    ],
  });
  const told = h("p", { class: "soft" }, "…");
  page.every(10_000, async () => {
    try {
      const found = seen.take(await page.text({ path: "/metrics" }));
      told.textContent = found[0]?.sinceStart ? "Of all requests since the start; a waiting fetch counts with its wait." : "Of the last seconds; a waiting fetch counts with its wait.";
      rows.update(found.slice(0, 8));
      if (!found.length) told.textContent = "No request was answered lately.";
      place.replaceChildren();
    } catch (error) {
      if (!page.isClosed) fill(place, problem(error));
    }
  });
  return card("Latency of requests", place, told, rows.element);
}

function worst(overview, to) {
  if (!overview.worst_lag.length) return card("Groups that are behind", empty("None. As a table, again and again:", `tidewheel group lag --watch 2 -b ${to}`));
  const most = Math.max(1, ...overview.worst_lag.map((one) => one.total_lag));
  const rows = table({
    caption: "Groups that are behind",
    key: (one) => one.group,
    columns: [
      { id: "group", title: "Group", long: true, cell: (one) => h("a", { href: `#/groups/${part(one.group)}` }, one.group) },
      { id: "status", title: "Status", cell: (one) => statusBadge(one.status) },
      { id: "lag", title: "Lag", number: true, cell: (one) => [h("span", { class: "lagbar" }, h("span", { style: { width: `${(one.total_lag / most) * 100}%` } })), count(one.total_lag)] },
    ],
  });
  rows.update(overview.worst_lag);
  return card("Groups that are behind", rows.element);
}

function disks(overview) {
  const one = (disk) => {
    if (disk.offline) return h("div", { class: "note bad" }, `${disk.log_dir} is offline: ${disk.offline}`);
    const used = disk.total_bytes ? 1 - disk.free_bytes / disk.total_bytes : 0;
    const kind = disk.free_bytes < disk.reserved_bytes ? "bad" : disk.free_bytes < disk.low_bytes ? "warn" : "";
    return [
      h("div", null, h("span", { class: "mono" }, disk.log_dir), ` ${bytes(disk.free_bytes)} free of ${bytes(disk.total_bytes)}`),
      h("div", { class: "meter" }, h("span", { class: kind, style: { width: `${used * 100}%` } })),
      h("p", { class: "soft" }, `Room is made below ${bytes(disk.low_bytes)}, records are refused below ${bytes(disk.reserved_bytes)}.`),
    ];
  };
  return card("Disks", overview.disks.map(one));
}

function about(info) {
  return card(
    "This broker",
    facts([
      ["Version", info.version],
      // IPv4 and IPv6 may be advertised as one.
      ["Clients connect to", [...new Set(info.advertised_listeners)].join(", ")],
      ["Listeners, as they are set", info.listeners?.join(", ")],
      ["HTTP", info.admin],
      ["Cluster, node", info.cluster_id ? `${info.cluster_id}, ${info.node_id}` : null],
      ["Process", `${info.pid}, since ${time(info.started_ms)}`],
      ["Processors", count(info.cores)],
      ["Memory", `${bytes(info.memory_resident_bytes)} of ${bytes(info.memory_total_bytes)}`],
      ["Open files", `${count(info.open_files)} of ${count(info.open_files_max)}`],
      ["Data", info.log_dirs?.join(", ")],
      ["API", h("a", { href: "openapi.json" }, "openapi.json")],
    ]),
  );
}
