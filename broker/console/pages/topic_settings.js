// The settings that act on a topic, and where each comes from.

import { part } from "../api.js";
import { badge, fill, h } from "../dom.js";
import { setting } from "../format.js";
import { listing } from "../table.js";
import { changeSetting, resetSetting, settingDetail, sourceBadge } from "./setting_parts.js";

export async function show(page, place, topic) {
  const path = `/v1/topics/${part(topic.name)}/configs`;
  const schema = new Map();
  const known = page.get("/v1/config/schema").then((all) => all.filter((one) => one.scope === "topic").forEach((one) => schema.set(one.name, one)), () => {});
  await known;
  const list = listing(
    page,
    { path, filter: "Filter settings by name", limit: 100, empty: () => h("p", null, "none") },
    {
      caption: `Settings of ${topic.name}`,
      testid: "settings",
      key: (one) => one.name,
      detail: (one) => settingDetail(one, schema.get(one.name)),
      columns: [
        { id: "name", title: "Setting", sort: "name", long: true, cell: (one) => h("code", null, one.name) },
        { id: "value", title: "Value", long: true, cell: (one) => h(one.is_default ? "span" : "strong", null, one.sensitive ? "hidden" : setting(one.name, one.value)) },
        { id: "source", title: "Comes from", sort: "source", cell: (one) => sourceBadge(one) },
        {
          id: "actions",
          title: "Actions",
          tight: true,
          acts: true,
          cell: (one) => [
            h("button", { type: "button", class: "small", "data-testid": `edit-${one.name}`, onclick: () => changeSetting(path, one, schema.get(one.name), list.reload) }, "Change…"),
            one.source === "DYNAMIC_TOPIC_CONFIG" ? h("button", { type: "button", class: "small", onclick: () => resetSetting(path, one, "the broker", list.reload) }, "Set back…") : null,
          ],
        },
      ],
    },
  );
  const own = badge(`${Object.keys(topic.overrides).length} of its own`);
  fill(place, h("p", { class: "soft" }, own, " What is not set here follows the broker. Enter on a row tells what a setting does."), list.element);
}
