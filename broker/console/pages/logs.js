// The log of the broker, and its levels.

import { part } from "../api.js";
import { action } from "../dialogs.js";
import { card, fill, h } from "../dom.js";
import { count, duration, integer, time } from "../format.js";
import { head } from "../page.js";
import { table } from "../table.js";

/** Lines that are kept: older ones go. */
const LINES_MAX = 2000;
const LEVELS = ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"];

export function show(page) {
  const lines = [];
  const targets = new Set(["root", "tidewheel_broker"]);
  let last = { number: 0, time_ms: 0 };
  let held = false;
  const wrong = h("div", null);
  const place = h("div", { class: "log", role: "log", tabindex: "0", "aria-label": "Lines of the log", "data-testid": "log" });
  const state = h("span", { class: "badge" }, "…");
  const told = h("span", { class: "soft" });
  const level = h("select", { "aria-label": "Level", "data-testid": "level", onchange: () => draw() }, LEVELS.map((one) => h("option", { value: one, selected: one === "TRACE" }, `${one.toLowerCase()} and worse`)));
  const q = h("input", { type: "search", class: "grow", placeholder: "text in the line", "aria-label": "Filter lines", "data-testid": "filter", oninput: () => draw() });
  const hold = h("button", { type: "button", "aria-pressed": "false", onclick: () => follow(held) }, "Hold");
  const clear = h("button", { type: "button", onclick: () => ((lines.length = 0), draw()) }, "Clear");

  const fits = (line) => LEVELS.indexOf(line.level) <= LEVELS.indexOf(level.value) && (!q.value || `${line.target} ${line.message}`.toLowerCase().includes(q.value.toLowerCase()));
  const row = (line) => h("div", { class: line.level, title: line.target }, `${time(line.time_ms)} ${line.level.padEnd(5)} ${line.target}: ${line.message}`);
  const bottom = () => {
    if (!held) place.scrollTop = place.scrollHeight;
  };
  function draw() {
    fill(place, lines.filter(fits).map(row));
    bottom();
    tell();
  }
  function tell() {
    told.textContent = `${count(place.childElementCount)} of ${count(lines.length)} lines`;
  }
  function follow(on) {
    held = !on;
    hold.setAttribute("aria-pressed", String(held));
    bottom();
  }
  // Lines come in bursts: they are drawn together.
  let waiting = [];
  function came(line) {
    // Whoever comes again gets the last lines again; a broker that was started again counts anew.
    if (line.number <= last.number && line.time_ms <= last.time_ms) return;
    if (line.number <= last.number) last = { number: 0, time_ms: 0 };
    if (waiting.length === 0) requestAnimationFrame(flush);
    if (last.number && line.number > last.number + 1) waiting.push({ ...line, message: `${count(line.number - last.number - 1)} lines were left out`, level: "WARN", target: "console" });
    last = line;
    if (targets.size < 500) targets.add(line.target);
    waiting.push(line);
  }
  function flush() {
    const some = waiting;
    waiting = [];
    lines.push(...some);
    if (lines.length > LINES_MAX) lines.splice(0, lines.length - LINES_MAX);
    place.append(...some.filter(fits).slice(-LINES_MAX).map(row));
    while (place.childElementCount > LINES_MAX) place.firstElementChild.remove();
    bottom();
    tell();
  }
  const levels = levelTable(page, targets);
  page.show(head("Logs", state), wrong, h("div", { class: "row" }, level, q, hold, clear, told), place, levels);
  page.follow({
    path: "/v1/logs/tail",
    onEvent: (_, line) => came(line),
    onState: (now, detail) => {
      state.textContent = now;
      state.className = `badge ${now === "live" ? "good" : "warn"}`;
      fill(wrong, now === "refused" ? h("div", { class: "note bad", role: "alert" }, detail) : null);
    },
  });
}

function levelTable(page, targets) {
  const wrong = h("div", null);
  const told = h("p", { class: "soft" });
  const rows = table({
    caption: "Levels that were set for a while",
    testid: "loggers",
    key: (one) => one.name,
    columns: [
      { id: "name", title: "Part of the broker", long: true, cell: (one) => h("code", null, one.name) },
      { id: "level", title: "Level", cell: (one) => one.level },
      { id: "expires", title: "Goes back in", cell: (one) => duration(one.expires_in_ms) },
    ],
  });
  const reload = page.refresh(5000, wrong, async () => {
    const levels = await page.get("/v1/loggers");
    told.textContent = `Where nothing is set: ${levels.directives}`;
    rows.element.hidden = levels.loggers.length === 0;
    rows.update(levels.loggers);
  });
  const set = () => {
    const options = [...targets].filter((target) => target !== "tidewheel::audit").sort();
    action({
      title: "Set a level for a while",
      button: "Set it",
      dryRun: false,
      fields: [
        { name: "name", label: "Part of the broker", value: "root", required: true, help: `root, or a part such as ${options.slice(0, 6).join(", ")}` },
        { name: "level", label: "Level", options: LEVELS.map((one) => one.toLowerCase()), value: "debug" },
        { name: "expires", label: "For how many seconds", type: "number", min: 1, max: 86_400, value: 300 },
      ],
      request: (values) => ({ method: "PUT", path: `/v1/loggers/${part(values.name)}`, query: { level: values.level, expires: integer(values.expires, "Seconds") } }),
      done: (set) => {
        reload();
        return `${set.name} writes ${set.level}`;
      },
    });
  };
  return card("Levels", wrong, h("div", { class: "row" }, h("button", { type: "button", "data-testid": "set-level", onclick: set }, "Set a level…"), told), rows.element);
}
