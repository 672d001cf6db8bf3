// Records of a topic: read from a place, looked for, or as they come. Nothing is committed.

import { part, quoted } from "../api.js";
import { copy, empty, fill, h, problem } from "../dom.js";
import { ago, bytes, count, forInput, integer, time, utc } from "../format.js";
import { cell, headers, view } from "../payload.js";
import { table, unselect } from "../table.js";
import { bootstrap } from "./broker.js";

/** More partitions than these are not read together. */
const TOGETHER_MAX = 64;
/** Rows of a live view: older ones go. */
const LIVE_MAX = 500;
const POLL_MS = 1000;
/** Records that are asked for at once, and how many offsets behind the end a live view goes on with the newest. */
const POLL_RECORDS = 100;
const BEHIND_MAX = 10_000;
/** Until the browser has begun to save a file. */
const SAVED_MS = 60_000;
const LIMITS = ["50", "100", "250", "1000"];
const WINDOWS = [["1000", "the last 1,000"], ["10000", "the last 10,000"], ["100000", "the last 100,000"], ["", "everything"]];

export function show(page, place, topic) {
  new Messages(page, place, topic);
}

class Messages {
  constructor(page, place, topic) {
    this.page = page;
    this.topic = topic;
    this.path = `/v1/topics/${part(topic.name)}/messages`;
    this.run = 0;
    this.streams = [];
    this.span = null;
    bootstrap().then((to) => {
      this.bootstrap = to;
    });
    this.build(place);
    if (page.query.get("live")) this.live();
    else this.read();
  }

  build(place) {
    const { query } = this.page;
    const many = this.topic.partitions;
    const options = (list, chosen) => list.map((one) => h("option", { value: Array.isArray(one) ? one[0] : one, selected: (Array.isArray(one) ? one[0] : one) === chosen }, Array.isArray(one) ? one[1] : one));
    const first = many === 1 ? "0" : many <= TOGETHER_MAX ? "all" : "0";
    const select = (name, list, chosen) => h("select", { "data-testid": name, onchange: () => this.arrange() }, options(list, chosen));
    const chosen = query.get("partition") ?? first;
    if (many > TOGETHER_MAX) {
      this.partition = h("input", { type: "number", min: 0, max: many - 1, value: chosen, "data-testid": "partition", oninput: () => this.arrange() });
    } else {
      const list = [...(many > 1 ? ["all"] : []), ...[...Array(many).keys()].map(String)];
      // An address may name one that is not there: it is not to become another one.
      this.partition = select("partition", list.includes(chosen) ? list : [...list, chosen], chosen);
    }
    this.from = select("from", [["newest", "the newest"], ["oldest", "the oldest"], ["offset", "an offset"], ["time", "a time"]], query.get("from") ?? "newest");
    this.offset = h("input", { type: "number", min: 0, value: query.get("offset") ?? "0", "data-testid": "offset" });
    this.time = h("input", { type: "datetime-local", step: "1", value: query.get("time") ?? forInput(Date.now() - 3_600_000), "data-testid": "time" });
    this.limit = select("limit", LIMITS, query.get("limit") ?? "50");
    this.q = h("input", { type: "search", value: query.get("q") ?? "", placeholder: "text in key or value", "data-testid": "q", oninput: () => this.arrange() });
    this.key = h("input", { type: "search", value: query.get("key") ?? "", placeholder: "exact key", "data-testid": "key", oninput: () => this.arrange() });
    this.window = select("window", WINDOWS, query.get("window") ?? "10000");
    this.labels = {};
    const label = (name, text, input) => (this.labels[name] = h("label", null, text, input));
    const button = (text, testid, onclick, kind = "") => h("button", { type: "button", class: kind, "data-testid": testid, onclick }, text);
    this.goLive = button("Live", "live", () => (this.streams.length ? this.stop() : this.live()));
    this.stopper = button("Stop", "stop", () => {
      this.halted = true;
    });
    this.saver = button("Save as JSON lines", "save", () => this.save(), "small");
    this.saver.hidden = true;
    this.told = h("span", { class: "soft", "aria-live": "polite", "data-testid": "told" });
    this.wrong = h("div", null);
    this.nothing = h("div", null);
    this.earlier = button("← Earlier", "earlier", () => this.turn(-1), "small");
    this.later = button("Later →", "later", () => this.turn(1), "small");
    this.rows = this.table();
    const form = h(
      "form",
      { class: "row", novalidate: true, onsubmit: (event) => (event.preventDefault(), this.read()) },
      label("partition", "Partition", this.partition),
      label("from", "From", this.from),
      label("offset", "Offset", this.offset),
      label("time", "Time (of this machine)", this.time),
      label("limit", "At most", this.limit),
      label("q", "Contains", this.q),
      label("key", "Key", this.key),
      label("window", "Look through", this.window),
      h("button", { type: "submit", class: "first", "data-testid": "read" }, "Read"),
      this.goLive,
      this.stopper,
    );
    fill(place, form, this.wrong, h("div", { class: "row" }, this.told, this.saver), this.nothing, this.rows.element, h("div", { class: "pager" }, this.earlier, this.later));
    this.arrange();
  }

  /** Shows the fields that matter. */
  arrange() {
    const filtered = Boolean(this.q.value || this.key.value);
    this.labels.offset.hidden = this.from.value !== "offset";
    this.labels.time.hidden = this.from.value !== "time";
    this.labels.window.hidden = !(filtered && this.from.value === "newest");
    this.stopper.hidden = !this.busy;
    this.goLive.setAttribute("aria-pressed", String(this.streams.length > 0));
    const one = this.partition.value !== "all" && !filtered && this.streams.length === 0;
    this.earlier.hidden = this.later.hidden = !one;
    this.earlier.disabled = !this.span || this.span.first <= 0;
    this.later.disabled = !this.span || this.span.next >= this.span.end;
  }

  table() {
    return table({
      caption: `Records of ${this.topic.name}`,
      testid: "messages",
      key: (record) => `${record.partition}-${record.offset}`,
      detail: (record) => this.detail(record),
      columns: [
        { id: "partition", title: "Partition", number: true, cell: (record) => record.partition },
        { id: "offset", title: "Offset", number: true, cell: (record) => record.offset },
        { id: "time", title: "Time", tight: true, cell: (record) => h("span", { title: utc(record.timestamp_ms) }, time(record.timestamp_ms)) },
        { id: "key", title: "Key", cell: (record) => cell(record.key) },
        { id: "value", title: "Value", fill: true, cell: (record) => (record.value.format === "null" ? h("span", { class: "soft" }, "null (tombstone)") : cell(record.value)) },
        { id: "headers", title: "Headers", number: true, phoneOff: true, cell: (record) => record.headers.length || "" },
        { id: "size", title: "Size", number: true, phoneOff: true, cell: (record) => bytes(record.key.size_bytes + record.value.size_bytes) },
      ],
    });
  }

  /** What is shown, as it came from the API: a record a line. */
  save() {
    const lines = this.shown.map((record) => `${JSON.stringify(record)}\n`);
    const url = URL.createObjectURL(new Blob(lines, { type: "application/jsonl" }));
    h("a", { href: url, download: `${this.topic.name}.jsonl` }).click();
    setTimeout(() => URL.revokeObjectURL(url), SAVED_MS);
  }

  detail(record) {
    const { name } = this.topic;
    const kcat = `kcat -b ${this.bootstrap} -C -t ${quoted(name)} -p ${record.partition} -o ${record.offset} -c 1 -f 'key: %k\\nheaders: %h\\n%s\\n'`;
    return h(
      "div",
      { "data-testid": "detail" },
      h("p", { class: "soft" }, `${time(record.timestamp_ms)} here, ${utc(record.timestamp_ms)} (${ago(record.timestamp_ms)}) · ${record.timestamp_ms} · compression of its batch: ${record.compression}`),
      view("Key", record.key),
      headers(record.headers),
      view("Value", record.value),
      h(
        "div",
        { class: "row" },
        h("button", { type: "button", class: "small", onclick: () => copy(kcat) }, "Copy as kcat"),
        h("button", { type: "button", class: "small", onclick: () => copy(JSON.stringify(record, null, 2)) }, "Copy as JSON"),
        h("a", { class: "button small", href: `#/topics/${part(name)}/produce?from=${record.partition}:${record.offset}` }, "Produce again…"),
      ),
    );
  }

  partitions() {
    const many = this.topic.partitions;
    if (this.partition.value === "all" && many <= TOGETHER_MAX) return [...Array(many).keys()];
    const partition = integer(this.partition.value, "Partition");
    if (partition < 0 || partition >= many) throw new Error(`There is no partition ${partition}: ${this.topic.name} has 0 to ${many - 1}.`);
    return [partition];
  }

  start() {
    if (this.from.value === "oldest") return "earliest";
    if (this.from.value === "offset") return String(integer(this.offset.value, "Offset"));
    if (this.from.value === "time") {
      const at = new Date(this.time.value).getTime();
      if (Number.isNaN(at)) throw new Error("Time: a date and a time are needed.");
      return `@${at}`;
    }
    const filtered = this.q.value || this.key.value;
    if (!filtered) return `-${this.limit.value}`;
    return this.window.value ? `-${this.window.value}` : "earliest";
  }

  remember(live) {
    const from = this.from.value;
    this.page.remember({
      partition: this.partition.value,
      from: from === "newest" ? null : from,
      offset: from === "offset" ? this.offset.value : null,
      time: from === "time" ? this.time.value : null,
      limit: this.limit.value === "50" ? null : this.limit.value,
      q: this.q.value,
      key: this.key.value,
      window: this.labels.window.hidden ? null : this.window.value,
      live: live ? "1" : null,
    });
  }

  stop() {
    this.run += 1;
    this.busy = false;
    this.streams.forEach((stream) => stream.close());
    this.streams = [];
    this.arrange();
  }

  /** Records from a place, of one partition or of all. */
  async read() {
    this.stop();
    const mine = this.run;
    this.remember(false);
    this.busy = true;
    this.halted = false;
    this.arrange();
    this.wrong.replaceChildren();
    this.saver.hidden = true;
    this.told.textContent = "reading…";
    const newest = this.from.value === "newest";
    const found = { records: [], scanned: 0, skipped: 0, span: null, wrong: [] };
    try {
      await this.readEach(this.partitions(), found, newest, mine);
      if (this.run === mine) this.draw(found, newest);
    } catch (error) {
      if (this.run !== mine || this.page.isClosed) return;
      // What was read from another place is not to pass for this one.
      this.span = null;
      this.rows.update([]);
      this.nothing.replaceChildren();
      fill(this.wrong, problem(error));
      this.told.textContent = "";
    }
    if (this.run !== mine) return;
    this.busy = false;
    this.arrange();
  }

  async readEach(partitions, found, newest, mine) {
    const limit = Number(this.limit.value);
    const left = [...partitions];
    const one = async () => {
      while (left.length && this.run === mine && !this.halted) {
        const partition = left.shift();
        try {
          await this.readOne(partition, found, newest, limit, mine);
        } catch (error) {
          // One that cannot be read does not hide the others.
          if (partitions.length === 1 || this.run !== mine || this.page.isClosed) throw error;
          found.wrong.push([partition, error]);
        }
        found.records.sort((a, b) => (newest ? b.timestamp_ms - a.timestamp_ms : a.timestamp_ms - b.timestamp_ms) || a.partition - b.partition || (newest ? b.offset - a.offset : a.offset - b.offset));
        if (partitions.length === 1) found.records.sort((a, b) => (newest ? b.offset - a.offset : a.offset - b.offset));
        found.records.length = Math.min(found.records.length, limit);
        this.told.textContent = `reading… ${count(found.scanned)} records looked at, ${count(found.records.length)} found`;
      }
    };
    await Promise.all([one(), one()]);
    if (this.run === mine && found.wrong.length) this.tellWrong(partitions, found.wrong);
  }

  tellWrong(partitions, wrong) {
    const [[, first]] = wrong;
    if (wrong.length === partitions.length) throw first;
    const which = wrong.map(([partition]) => partition).sort((a, b) => a - b);
    fill(this.wrong, h("p", null, `Not read: ${which.length === 1 ? "partition" : "partitions"} ${which.join(", ")}.`), problem(first));
  }

  /** Of one partition, with as many requests as it takes. */
  async readOne(partition, found, newest, limit, mine) {
    const filter = { q: this.q.value, key: this.key.value };
    let offset = this.start();
    let end = null;
    let kept = [];
    for (;;) {
      const answer = await this.page.get(this.path, { partition, offset, limit, ...filter });
      if (this.run !== mine) return;
      found.scanned += answer.scanned;
      found.skipped += answer.skipped_batches;
      kept.push(...answer.items);
      // The newest are wanted: those before them go.
      if (newest && kept.length > limit) kept = kept.slice(-limit);
      found.span = { first: kept[0]?.offset ?? answer.next_offset, next: answer.next_offset, end: answer.high_watermark };
      // What is produced meanwhile is not waited for.
      end ??= answer.high_watermark;
      this.told.textContent = `reading… ${count(found.scanned)} records looked at, now in partition ${partition}`;
      const goesOn = answer.next_offset < end && String(answer.next_offset) !== String(offset) && (newest || kept.length < limit);
      if (!goesOn || this.halted) break;
      offset = answer.next_offset;
    }
    found.records.push(...kept.slice(0, limit));
  }

  draw(found, newest) {
    this.span = found.span;
    this.rows.open.clear();
    unselect();
    this.rows.update(found.records);
    this.shown = found.records;
    const none = found.records.length === 0;
    this.saver.hidden = none;
    this.rows.element.hidden = none;
    fill(this.nothing, none ? this.none() : null);
    const parts = [`${count(found.records.length)} shown, the ${newest ? "newest" : "oldest"} first`, `${count(found.scanned)} looked at`];
    if (this.halted) parts.unshift("stopped");
    if (found.skipped) parts.push(`${count(found.skipped)} batches are damaged or too large to be opened`);
    if (this.partitions().length === 1 && found.span) parts.push(`the partition ends at ${count(found.span.end)}`);
    this.told.textContent = none && !this.halted ? "" : parts.join(" · ");
  }

  none() {
    const { name } = this.topic;
    if (this.topic.records) return empty("No record fits. Look through more of the topic, or at another place.");
    return empty("There is no record in this topic yet.", `echo 'hello' | tidewheel produce ${quoted(name)} -b ${this.bootstrap ?? "127.0.0.1:9092"}`);
  }

  /** The page before or behind, of one partition. */
  turn(step) {
    const limit = Number(this.limit.value);
    const offset = step > 0 ? this.span.next : Math.max(0, this.span.first - limit);
    this.from.value = "offset";
    this.offset.value = String(offset);
    this.arrange();
    this.read();
  }

  /** Records as they come: a stream of one partition, questions each second for all. */
  live() {
    this.stop();
    const mine = this.run;
    this.remember(true);
    this.wrong.replaceChildren();
    this.nothing.replaceChildren();
    this.saver.hidden = true;
    this.rows.element.hidden = false;
    this.rows.open.clear();
    this.rows.update([]);
    this.seen = 0;
    this.waiting = [];
    this.told.textContent = "waiting for records…";
    const filter = { q: this.q.value, key: this.key.value };
    let partitions;
    try {
      partitions = this.partitions();
    } catch (error) {
      fill(this.wrong, problem(error));
      this.told.textContent = "";
      return;
    }
    this.streams = partitions.length === 1 ? [this.tail(partitions[0], filter)] : [this.poll(partitions, filter, mine)];
    this.arrange();
  }

  /** Records come in bursts: they are drawn together, and those that would not be seen are not drawn at all. */
  came(record) {
    this.seen += 1;
    if (this.waiting.length === 0) {
      const mine = this.run;
      requestAnimationFrame(() => {
        if (this.run !== mine) return;
        const some = this.waiting.splice(0).slice(-LIVE_MAX);
        this.rows.prepend(some, LIVE_MAX);
        this.tell("live");
      });
    }
    this.waiting.push(record);
    if (this.waiting.length > 2 * LIVE_MAX) this.waiting.splice(0, LIVE_MAX);
  }

  tell(state) {
    const kept = this.seen > LIVE_MAX ? `, the last ${count(LIVE_MAX)} shown` : "";
    this.told.textContent = `${state}: ${count(this.seen)} records came${kept}`;
  }

  tail(partition, filter) {
    return this.page.follow({
      path: `${this.path}/tail`,
      query: { partition, ...filter },
      resume: true,
      onEvent: (name, data) => {
        if (name === "message") this.came(data);
        else this.told.textContent = "some offsets are left out: they were deleted, or cannot be opened";
      },
      onState: (state, detail) => {
        if (state === "refused") fill(this.wrong, h("div", { class: "note bad", role: "alert" }, detail));
        else if (state === "live") this.wrong.replaceChildren();
        this.tell(detail ? `${state} (${detail})` : state);
      },
    });
  }

  poll(partitions, filter, mine) {
    const next = new Map();
    let closed = false;
    let leftOut = 0;
    const look = async (partition) => {
      const known = next.get(partition);
      const answer = await this.page.get(this.path, { partition, offset: known ?? "latest", limit: POLL_RECORDS, ...filter });
      if (closed || this.run !== mine) return;
      const behind = answer.high_watermark - answer.next_offset;
      // Faster than they can be shown: live is what comes now.
      const skips = known !== undefined && behind > BEHIND_MAX;
      leftOut += skips ? behind : 0;
      next.set(partition, skips ? answer.high_watermark : answer.next_offset);
      if (known !== undefined) answer.items.forEach((record) => this.came(record));
    };
    this.page.every(POLL_MS, async () => {
      const wrong = [];
      for (const partition of partitions) {
        if (closed || document.hidden || this.run !== mine) return;
        try {
          await look(partition);
        } catch (error) {
          if (this.page.isClosed || closed) return;
          wrong.push([partition, error]);
        }
      }
      this.tell(leftOut ? `live, ${count(leftOut)} offsets left out` : "live");
      if (wrong.length === 0) this.wrong.replaceChildren();
      else if (wrong.length === partitions.length) fill(this.wrong, problem(wrong[0][1]));
      else this.tellWrong(partitions, wrong);
    }, 1);
    return {
      close() {
        closed = true;
      },
    };
  }
}
