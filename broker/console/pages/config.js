// The broker's settings, and where each comes from.

import { quoted } from "../api.js";
import { command, fill, h } from "../dom.js";
import { offers } from "../features.js";
import { ago, count, setting } from "../format.js";
import { head } from "../page.js";
import { table } from "../table.js";
import { bootstrap } from "./broker.js";
import { changeSetting, originOf, resetSetting, settingDetail, sourceBadge } from "./setting_parts.js";

export function show(page) {
  const wrong = h("div", null);
  const pending = h("div", null);
  const told = h("span", { class: "soft", "aria-live": "polite", "data-testid": "total" });
  const state = { all: [], schema: new Map(), to: "", drawn: "", canChange: false, reload: () => {} };
  const q = h("input", { type: "search", class: "grow", value: page.query.get("q") ?? "", placeholder: "name, value or what it does", "aria-label": "Filter settings", "data-testid": "filter", oninput: () => draw() });
  const only = h("select", { "aria-label": "Which settings", "data-testid": "which", onchange: () => draw() }, [["", "all"], ["set", "those that somebody set"], ["restart", "those that need a restart"], ["live", "those that act at once"]].map(([value, text]) => h("option", { value, selected: value === page.query.get("which") }, text)));
  const rows = table({
    caption: "Settings",
    testid: "settings",
    key: (one) => one.name,
    detail: (one) => settingDetail(one, state.schema.get(one.name), change(one, state)),
    columns: [
      { id: "name", title: "Setting", long: true, cell: (one) => h("code", null, one.name) },
      { id: "value", title: "Value", long: true, cell: (one) => h(one.is_default ? "span" : "strong", null, one.sensitive ? "hidden" : setting(one.name, one.value)) },
      { id: "source", title: "Comes from", cell: (one) => sourceBadge(one) },
      { id: "default", title: "Default", phoneOff: true, long: true, cell: (one) => (one.is_default ? "" : setting(one.name, one.default)) },
      { id: "restart", title: "Acts", phoneOff: true, cell: (one) => (one.read_only ? "after a restart" : "at once") },
    ],
  });
  page.show(head("Configuration"), wrong, pending, h("div", { class: "row" }, q, only, told), rows.element);

  function draw() {
    const text = q.value.trim().toLowerCase();
    page.remember({ q: q.value.trim(), which: only.value });
    const fits = (one) =>
      (!text || [one.name, one.value ?? "", one.documentation, originOf(one)].some((part) => part.toLowerCase().includes(text))) &&
      (only.value !== "set" || !one.is_default) &&
      (only.value !== "restart" || one.read_only) &&
      (only.value !== "live" || !one.read_only);
    const some = state.all.filter(fits);
    told.textContent = `${count(some.length)} of ${count(state.all.length)}`;
    return rows.update(some);
  }

  offers("PATCH", "/v1/config").then((can) => {
    state.canChange = can;
  });
  state.reload = page.refresh(10_000, wrong, async () => {
    const [list, status, schema, to] = await Promise.all([
      page.get("/v1/config", { limit: 1000 }),
      page.get("/v1/config/status"),
      state.schema.size ? null : page.get("/v1/config/schema"),
      bootstrap(),
    ]);
    schema?.filter((one) => one.scope === "broker").forEach((one) => state.schema.set(one.name, one));
    state.to = to;
    fill(
      pending,
      h("p", { class: "soft" }, `Read ${ago(status.read_ms)}; SIGHUP reads the file again.`),
      status.pending_restart.length ? h("div", { class: "note warn", role: "alert" }, `Waiting for a restart: ${status.pending_restart.join(", ")}`) : null,
    );
    const listed = JSON.stringify(list.items);
    if (listed === state.drawn) return;
    state.all = list.items;
    if (draw()) state.drawn = listed;
  });
}

/** How it is changed, where it can be while the broker runs. */
function change(one, state) {
  if (one.read_only || one.sensitive) return null;
  const line = `tidewheel config set ${quoted(`${one.name}=${one.value ?? ""}`)} -b ${state.to}`;
  const button = (text, testid, onclick) => h("button", { type: "button", class: "small", "data-testid": testid, onclick }, text);
  const buttons = h("div", { class: "row" }, [
    button("Change…", `change-${one.name}`, () => changeSetting("/v1/config", one, state.schema.get(one.name), state.reload)),
    one.source === "DYNAMIC_BROKER_CONFIG" ? button("Set back…", `reset-${one.name}`, () => resetSetting("/v1/config", one, "the configuration", state.reload)) : null,
  ].filter(Boolean));
  return h("div", null, h("h3", null, "Change it while it runs"), state.canChange ? buttons : null, command(line));
}
