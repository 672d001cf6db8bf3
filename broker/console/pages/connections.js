// Who is connected, and with which library.

import { action } from "../dialogs.js";
import { card, empty, fill, h } from "../dom.js";
import { ago, bytes, count, duration, time } from "../format.js";
import { head } from "../page.js";
import { listing, table } from "../table.js";
import { bootstrap } from "./broker.js";

export function show(page) {
  const none = h("div", null);
  const before = new Map();
  bootstrap().then((to) => fill(none, empty("Nobody is connected. This reads a topic until it is stopped:", `tidewheel consume greetings -b ${to}`)));
  const list = listing(
    page,
    { path: "/v1/connections", limit: 100, every: 3000, empty: () => none, after: (answer) => remember(before, answer.items) },
    {
      caption: "Connections",
      testid: "connections",
      key: (one) => String(one.id),
      columns: [
        { id: "id", title: "Number", number: true, cell: (one) => one.id },
        { id: "client", title: "client.id", long: true, cell: (one) => one.client_id ?? "–" },
        { id: "software", title: "Library", cell: (one) => [one.software_name ?? "unknown", " ", one.software_version ?? ""] },
        { id: "address", title: "Address", cell: (one) => [one.address, h("div", { class: "soft" }, `to ${one.listener}`)] },
        { id: "age", title: "Connected", number: true, cell: (one) => h("span", { title: time(one.connected_ms) }, duration(one.age_ms)) },
        { id: "requests", title: "Requests", number: true, cell: (one) => [count(one.requests), rate(before, one)] },
        { id: "bytes", title: "Sent, got", cell: (one) => `${bytes(one.request_bytes)}, ${bytes(one.answer_bytes)}` },
        { id: "last", title: "Last request", cell: (one) => (one.last_api ? `${one.last_api}, ${ago(Date.now() - one.idle_ms)}` : "–") },
        { id: "actions", title: "Actions", tight: true, acts: true, cell: (one) => h("button", { type: "button", class: "small danger", onclick: () => end(one, () => list.reload()) }, "End…") },
      ],
    },
  );
  const libraries = table({
    caption: "Libraries",
    key: (one) => one.name,
    columns: [
      { id: "name", title: "Library and version", long: true, cell: (one) => one.name },
      { id: "many", title: "Connections", number: true, cell: (one) => count(one.many) },
    ],
  });
  const told = h("p", { class: "soft" });
  const summary = card("Libraries", told, libraries.element);
  page.show(head("Connections"), list.element, summary);
  page.every(15_000, async () => {
    const answer = await page.get("/v1/connections", { limit: 1000 });
    const sums = new Map();
    for (const one of answer.items) {
      const name = `${one.software_name ?? "unknown (too old to say)"} ${one.software_version ?? ""}`.trim();
      sums.set(name, (sums.get(name) ?? 0) + 1);
    }
    libraries.update([...sums].map(([name, many]) => ({ name, many })).sort((a, b) => b.many - a.many));
    summary.hidden = sums.size === 0;
    told.textContent = answer.next_cursor ? "Of the first 1,000 connections." : "Who still uses an old one?";
  });
}

function remember(before, items) {
  before.clear();
  for (const one of items) before.set(one.id, { at: one.age_ms, requests: one.requests });
}

/** Of the time since the list was read before. */
function rate(before, one) {
  const known = before.get(one.id);
  const seconds = known ? (one.age_ms - known.at) / 1000 : 0;
  return seconds > 0 ? h("div", { class: "soft" }, `${count((one.requests - known.requests) / seconds)}/s`) : null;
}

function end(one, done) {
  action({
    title: `End connection ${one.id}`,
    button: "End it",
    danger: true,
    text: h("p", null, `${one.client_id ?? "A client"} from ${one.address}. It may connect again.`),
    fields: [{ name: "reason", label: "Why, for the log", placeholder: "may be empty" }],
    request: ({ reason }) => ({ method: "DELETE", path: `/v1/connections/${one.id}`, query: reason.trim() ? { reason: reason.trim() } : {} }),
    done: () => {
      done();
      return `connection ${one.id} is ended`;
    },
  });
}
