// Records that are delivered later.

import { call, part, quoted } from "../api.js";
import { bars } from "../chart.js";
import { action, open } from "../dialogs.js";
import { badge, card, empty, fill, h, problem, tile } from "../dom.js";
import { offers } from "../features.js";
import { ago, bytes, count, duration, forInput, parseDuration, time, utc } from "../format.js";
import { head } from "../page.js";
import { cell, headers, view } from "../payload.js";
import { table } from "../table.js";
import { bootstrap } from "./broker.js";

const PAGE = 50;
const REFRESH_MS = 3000;
/** For how long the figures wait for the list: both are to be of one moment, but a list may read files. */
const TOGETHER_MS = 1000;
/** How often what a list took it rests afterwards. */
const REST_FACTOR = 8;
/** Further ahead the broker knows the minute, the hour or the day in which the next one is due. */
const MINUTE_MS = 60_000;

export function show(page) {
  const wrong = h("div", null);
  const figures = h("div", null);
  const list = records(page, () => reload());
  const topics = topicTable(page, list, () => reload());
  page.show(head("Delayed records"), wrong, figures, topics.element, list.element);
  const reload = page.refresh(REFRESH_MS, wrong, async () => {
    const late = new Promise((resolve) => setTimeout(resolve, TOGETHER_MS));
    const delayed = await page.get("/v1/delayed");
    await Promise.race([list.topics(delayed.per_topic.map((one) => one.topic)) ?? list.refresh(), late]);
    fill(figures, warnings(delayed, () => reload()), summary(delayed, list), histogram(delayed), await first(delayed));
    topics.update(delayed);
  });
  page.every(1000, async () => countDown(page.root));
}

/** A time that is counted down while it is looked at. */
function until(ms) {
  return h("span", { "data-until": ms, title: utc(ms) }, left(ms));
}

function left(ms) {
  const more = ms - Date.now();
  const seconds = Math.ceil(more / 1000);
  return more <= 0 ? "due now" : seconds < 60 ? `in ${seconds} s` : `in ${duration(seconds * 1000)}`;
}

function countDown(root) {
  root.querySelectorAll("[data-until]").forEach((one) => {
    one.textContent = left(Number(one.dataset.until));
  });
}

function warnings(delayed, done) {
  const held = delayed.clock_held
    ? h("div", { class: "note warn", role: "alert" }, "The clock jumped ahead: nothing is delivered until it is put back, half an hour has passed, or somebody says that it is right. ", h("button", { type: "button", class: "small", onclick: () => accept(done) }, "The clock is right…"))
    : null;
  return [held, delayed.failures.map((failure) => h("div", { class: "note bad", role: "alert" }, failure))];
}

function accept(done) {
  action({
    title: "The clock is right",
    button: "It is right",
    text: h("p", null, "What was held is delivered."),
    request: () => ({ method: "POST", path: "/v1/delayed/clock:accept" }),
    done,
  });
}

/** What is to be delivered: what was cancelled or moved is kept until it would have been due. */
export const toDeliver = (delayed) => Math.max(0, delayed.pending - delayed.withdrawn);

/** In a few words when the next one is due. */
export function nextSaid(ms) {
  if (ms === null) return "nothing is due";
  const isExact = ms % MINUTE_MS !== 0 || ms <= Date.now();
  return isExact ? `next ${ago(ms)}` : `none before ${time(ms).slice(0, 16)}`;
}

function summary(delayed, list) {
  const kept = delayed.withdrawn ? ` with ${count(delayed.withdrawn)} cancelled or moved, kept until they would be due` : "";
  const next = nextDue(delayed, list);
  return h("div", { class: "tiles" }, [
    tile("Pending", count(toDeliver(delayed)), { more: `${bytes(delayed.pending_bytes)}${kept}`, testid: "tile-pending" }),
    tile("Next is due", next.value, { more: next.more, testid: "tile-next" }),
    tile("Overdue", count(delayed.overdue), { more: delayed.oldest_overdue_ms === null ? null : `since ${ago(delayed.oldest_overdue_ms)}`, kind: delayed.overdue ? "warn" : null }),
    tile("Delivered", count(delayed.delivered_total), { more: "since the start" }),
    tile("Passed over", count(delayed.cancelled_total), { more: "cancelled or moved, once they would be due" }),
    tile("Expired", count(delayed.expired_total), { more: "since the start" }),
  ]);
}

/** When the next one is due: as the list says where it has it, else as well as the broker knows without reading files. */
function nextDue(delayed, list) {
  const known = delayed.next_due_ms;
  const first = list.first(delayed);
  if (first !== null) return { value: until(first), more: time(first) };
  if (known === null) return { value: "–", more: null };
  if (known % MINUTE_MS !== 0) return { value: until(known), more: `${time(known).slice(0, -4)}, to the second` };
  if (known <= Date.now()) return { value: "soon", more: "the list of its topic says when" };
  return { value: `not before ${time(known).slice(11, 16)}`, more: `${time(known).slice(0, 10)}; the list of its topic says when` };
}

/** The API counts what is due by each bound; the bars show what is due between two. */
function histogram(delayed) {
  if (!toDeliver(delayed) && !delayed.overdue) return null;
  let before = 0;
  let from = 0;
  const items = delayed.due_histogram.map((one) => {
    const value = one.count - before;
    before = one.count;
    const label = one.le_seconds === 0 ? "overdue" : one.le_seconds === null ? `after ${duration(from * 1000)}` : `within ${duration(one.le_seconds * 1000)}`;
    from = one.le_seconds ?? from;
    return { label, value, kind: one.le_seconds === 0 ? "bad" : "" };
  });
  const exact = "At the latest: what is due later than some minutes from now counts with the end of its minute, hour or day.";
  return card("When they are due", h("p", { class: "soft" }, exact), bars(items));
}

async function first(delayed) {
  if (delayed.per_topic.length) return null;
  const to = await bootstrap();
  return card(
    "No topic delays records",
    empty(
      "Make one whose records may say when they are due, and send one for in half a minute:",
      `tidewheel topic create reminders --config delay.mode=both -b ${to}`,
      `echo 'in half a minute' | tidewheel produce reminders --delay 30s -b ${to}`,
    ),
  );
}

function topicTable(page, list, done) {
  const rows = table({
    caption: "Topics with delays",
    testid: "delay-topics",
    key: (one) => one.topic,
    columns: [
      { id: "topic", title: "Topic", long: true, cell: (one) => h("a", { href: `#/topics/${part(one.topic)}` }, one.topic) },
      { id: "mode", title: "delay.mode", cell: (one) => one.mode },
      // With those that were cancelled: how many these are is known of all topics together.
      { id: "pending", title: "Kept until due", number: true, cell: (one) => count(one.pending) },
      { id: "bytes", title: "Size", number: true, cell: (one) => bytes(one.pending_bytes) },
      { id: "state", title: "State", cell: (one) => (one.paused ? badge("paused", "warn") : badge("delivers", "good")) },
      {
        id: "actions",
        title: "Actions",
        tight: true,
        acts: true,
        cell: (one) => [
          h("button", { type: "button", class: "small", "data-testid": `list-${one.topic}`, onclick: () => list.choose(one.topic) }, "List"),
          h("button", { type: "button", class: "small", "data-testid": `pause-${one.topic}`, onclick: () => pause(one, done) }, one.paused ? "Resume…" : "Pause…"),
        ],
      },
    ],
  });
  const more = h("p", { class: "soft" });
  const element = card("Topics", rows.element, more);
  return {
    element,
    update(delayed) {
      element.hidden = delayed.per_topic.length === 0;
      rows.update(delayed.per_topic);
      more.hidden = delayed.per_topic_left_out === 0;
      more.textContent = delayed.per_topic_left_out ? `${count(delayed.per_topic_left_out)} more topics are left out.` : "";
    },
  };
}

function pause(one, done) {
  const word = one.paused ? "resume" : "pause";
  action({
    title: one.paused ? `Resume ${one.topic}` : `Pause ${one.topic}`,
    button: one.paused ? "Resume it" : "Pause it",
    text: h("p", null, one.paused ? "What was due meanwhile is delivered first." : "Records are taken all the same, but nothing is delivered until it is resumed, also over restarts."),
    request: () => ({ method: "POST", path: `/v1/delayed/topics/${part(one.topic)}:${word}` }),
    done: () => {
      done();
      return `${one.topic} ${one.paused ? "delivers again" : "is paused"}`;
    },
  });
}

/** What is pending in a topic, in pages. */
function records(page, changed) {
  let topic = page.query.get("topic");
  let cursors = [null];
  let next = null;
  const wrong = h("div", null);
  const told = h("span", { class: "soft", "aria-live": "polite" });
  const choice = h("select", { "data-testid": "delay-topic", onchange: () => choose(choice.value) });
  const state = h("select", { onchange: () => restart() }, [["", "all"], ["pending", "due later"], ["overdue", "overdue"]].map(([value, text]) => h("option", { value }, text)));
  const before = h("input", { type: "datetime-local", step: "1", onchange: () => restart() });
  const key = h("input", { type: "search", placeholder: "exact key", onchange: () => restart() });
  const move = (text, onclick) => h("button", { type: "button", class: "small", disabled: true, onclick }, text);
  const back = move("← Back", () => {
    cursors.pop();
    load();
  });
  const on = move("Next →", () => {
    cursors.push(next);
    load();
  });
  const rows = table({
    caption: "Pending records",
    testid: "pending",
    key: (one) => one.id,
    detail: (one) => look(page, one),
    columns: [
      { id: "due", title: "Due", tight: true, cell: (one) => h("span", { title: utc(one.deliver_at_ms) }, time(one.deliver_at_ms)) },
      { id: "in", title: "In", tight: true, cell: (one) => (one.overdue_ms > 0 ? h("span", { class: "warn-text" }, `overdue for ${duration(one.overdue_ms)}`) : until(one.deliver_at_ms)) },
      { id: "partition", title: "Partition", number: true, cell: (one) => one.partition },
      { id: "key", title: "Key", cell: (one) => (one.records > 1 ? `${count(one.records)} records` : cell(one.key)) },
      { id: "size", title: "Size", number: true, phoneOff: true, cell: (one) => bytes(one.size_bytes) },
      { id: "actions", title: "Actions", tight: true, acts: true, cell: (one) => buttons(one, load) },
    ],
  });
  const none = h("div", null);
  /** What the list shows, where it shows something. */
  let shown = null;
  let isBegun = false;
  let listed = null;
  const refresh = h("button", { type: "button", "data-testid": "refresh-pending", onclick: () => load() }, "Look again");
  const label = (text, input) => h("label", null, text, input);
  const all = h("button", { type: "button", class: "danger", hidden: true, "data-testid": "cancel-all", onclick: () => cancelAll(listed, load) }, "Cancel all of these…");
  offers("DELETE", "/v1/delayed/messages").then((can) => {
    all.hidden = !can;
  });
  const element = card(
    "Pending records",
    h("div", { class: "row" }, label("Topic", choice), label("Which", state), label("Due before", before), label("Key", key), refresh, all, told),
    wrong,
    none,
    rows.element,
    h("div", { class: "pager" }, back, on),
  );

  const read = () => ({ topic, state: state.value, key: key.value, due_before: before.value ? new Date(before.value).getTime() : null });
  let asking = 0;
  /** Whether an answer is waited for, and from when on the list may be asked for by itself: it may read files. */
  let isBusy = false;
  let restsUntil = 0;
  const load = () => ask(false);
  /** The same page again, as it is by now. What somebody looks at stays where it is. */
  const again = async () => {
    const isLookedAt = rows.open.size > 0 || document.querySelector("dialog[open]");
    if (isBegun && !isBusy && !isLookedAt && performance.now() >= restsUntil) await ask(true);
  };
  async function ask(isQuiet) {
    if (!topic) return;
    asking += 1;
    const mine = asking;
    const began = performance.now();
    isBegun = isBusy = true;
    if (!isQuiet) {
      told.textContent = "reading…";
      all.disabled = true;
    }
    try {
      // Not what is being typed just now.
      const asked = isQuiet && listed ? listed : read();
      if (!isQuiet && before.validity.badInput) throw new Error("“Due before” cannot be read.");
      const [answer, to] = await Promise.all([page.get("/v1/delayed/messages", { ...asked, limit: PAGE, cursor: cursors.at(-1) }), bootstrap()]);
      // Something else is wanted by now, or somebody opened one meanwhile.
      if (mine !== asking || (isQuiet && rows.open.size > 0)) return;
      shown = { ...asked, isStart: cursors.length === 1, first: answer.items[0] ?? null };
      // What is shown is what “all of these” means, whatever is typed meanwhile.
      listed = asked;
      all.disabled = false;
      next = answer.next_cursor;
      // One that is gone does not stay open.
      [...rows.open].filter((id) => !answer.items.some((one) => one.id === id)).forEach((id) => rows.open.delete(id));
      rows.update(answer.items);
      rows.element.hidden = answer.items.length === 0;
      fill(none, answer.items.length ? null : next ? h("p", { class: "soft" }, "Nothing on this page; there is more.") : nothing(asked, to));
      back.disabled = cursors.length === 1;
      on.disabled = next === null;
      back.hidden = on.hidden = back.disabled && on.disabled;
      const looked = `${count(answer.scanned)} looked at`;
      if (told.textContent !== looked) told.textContent = looked;
      wrong.replaceChildren();
      if (!isQuiet) changed();
    } catch (error) {
      if (page.isClosed || mine !== asking) return;
      shown = null;
      told.textContent = "";
      fill(wrong, problem(error));
    } finally {
      const now = performance.now();
      if (mine === asking) [isBusy, restsUntil] = [false, now + (now - began) * REST_FACTOR];
    }
  }
  function restart() {
    cursors = [null];
    return load();
  }
  function choose(name) {
    topic = name;
    choice.value = name;
    page.remember({ topic });
    restart();
  }
  let known = "";
  return {
    element,
    choose,
    refresh: again,
    /** When the first of all is due, where the list tells: it shows the only topic that holds something. */
    first({ per_topic: topics, per_topic_left_out: leftOut }) {
      const holds = topics.filter((one) => one.pending > 0);
      const isAll = shown?.isStart && !shown.state && !shown.key && shown.due_before === null && leftOut === 0;
      const isOnly = holds.length === 1 && holds[0].topic === shown?.topic && !holds[0].paused;
      const isAhead = shown?.first?.overdue_ms === 0 && shown.first.deliver_at_ms > Date.now();
      return isAll && isOnly && isAhead ? shown.first.deliver_at_ms : null;
    },
    /** The topics that there are to choose from; what is waited for where one of them is read now. */
    topics(names) {
      element.hidden = names.length === 0;
      const all = topic && !names.includes(topic) ? [topic, ...names] : names;
      if (known === all.join("\n")) return null;
      known = all.join("\n");
      const first = topic === null && all.length > 0;
      topic ??= all[0] ?? null;
      fill(choice, all.map((name) => h("option", { value: name, selected: name === topic }, name)));
      return first || cursors.length === 1 ? restart() : null;
    },
  };
}

/** Nothing is in the list: how that is changed. */
function nothing(asked, to) {
  const filtered = asked.state || asked.key || asked.due_before !== null;
  const place = empty(filtered ? "Nothing that is pending fits." : "Nothing is pending. A record for in a minute:", `echo 'in a minute' | tidewheel produce ${quoted(asked.topic)} --delay 1m -b ${to}`);
  return h("div", { "data-testid": "none-pending" }, place);
}

function buttons(one, done) {
  const path = `/v1/delayed/messages/${part(one.id)}`;
  const button = (text, testid, onclick, kind = "") => h("button", { type: "button", class: `small ${kind}`, "data-testid": testid, onclick }, text);
  const what = h("p", null, `Due ${time(one.deliver_at_ms)}, ${count(one.records)} of ${one.topic}, partition ${one.partition}.`);
  return [
    button("Now…", "deliver-now", () =>
      action({ title: "Deliver it now", text: what, request: () => ({ method: "POST", path: `${path}:deliver-now` }), done: () => (done(), "it is delivered now") }),
    ),
    button("Move…", "reschedule", () =>
      action({
        title: "Deliver it at another time",
        button: "Move it",
        text: what,
        fields: [
          { name: "how", label: "To", options: [["in", "from now"], ["at", "a time"]] },
          { name: "in", label: "From now", value: "1h", help: "30s, 5m, 2h, 1d", when: (now) => now.how === "in" },
          { name: "at", label: "Time (of this machine)", type: "datetime-local", step: "1", value: forInput(one.deliver_at_ms), when: (now) => now.how === "at" },
        ],
        request: (values) => {
          const wait = parseDuration(values.in);
          const at = values.how === "in" ? Date.now() + wait : new Date(values.at).getTime();
          if (Number.isNaN(at) || (values.how === "in" && wait === null)) throw new Error("30s, 5m, 2h or 1d, or a date and a time.");
          return { method: "POST", path: `${path}:reschedule`, body: { deliver_at_ms: at } };
        },
        done: (moved) => (done(), `it is due ${ago(moved.deliver_at_ms)}`),
      }),
    ),
    button("Cancel…", "cancel", () => action({ title: "Cancel it", button: "Cancel it for good", danger: true, text: [what, h("p", null, "It is never delivered.")], request: () => ({ method: "DELETE", path }), done: () => (done(), "it is cancelled") }), "danger"),
  ];
}

/** A filter in words. */
function said(query) {
  const parts = [`Of ${query.topic}`, `which: ${query.state || "all"}`, query.due_before === null ? null : `due before ${time(query.due_before)}`, query.key ? `with the key ${query.key}` : null];
  return parts.filter(Boolean).join(", ");
}

/** Cancels what the list shows, a thousand at once: as many as were counted, or none. */
async function cancelAll(query, done) {
  const request = { method: "DELETE", path: "/v1/delayed/messages", query: { ...query, limit: 1000 } };
  let found;
  try {
    found = await call({ ...request, query: { ...request.query, dry_run: true } });
  } catch (error) {
    open("Cancel all of these", problem(error));
    return;
  }
  action({
    title: `Cancel ${count(found.matched)} records of ${query.topic}`,
    button: "Cancel them for good",
    danger: true,
    confirm: String(found.matched),
    text: h("p", null, `${said(query)}: ${count(found.matched)} entries fit${found.next_cursor ? ", and there are more behind them" : ""}. They are never delivered. Where there are others by then, nothing is done.`),
    request: () => ({ ...request, query: { ...request.query, confirm_count: found.matched } }),
    done: (result) => {
      done();
      return result.given_up ? `${count(result.cancelled)} of ${count(result.matched)} are cancelled, then: ${result.given_up}` : `${count(result.cancelled)} are cancelled`;
    },
  });
}

/** What a pending record holds. */
function look(page, one) {
  const place = h("div", { "data-testid": "detail" }, h("p", { class: "soft" }, "reading…"));
  page.get(`/v1/delayed/messages/${part(one.id)}`).then(
    (told) => {
      const about = [`id ${told.id}`, told.expires_ms === null ? null : `expires ${time(told.expires_ms)}`, told.timestamp_ms === null ? null : `sent with the timestamp ${time(told.timestamp_ms)}`];
      fill(
        place,
        h("p", { class: "soft" }, about.filter(Boolean).join(" · ")),
        told.contents.map((record) => h("div", null, view("Key", record.key), headers(record.headers), view("Value", record.value))),
        told.contents.length < told.records ? h("p", { class: "soft" }, `${count(told.records - told.contents.length)} more records are not shown.`) : null,
      );
    },
    (error) => fill(place, problem(error)),
  );
  return place;
}
