// All consumer groups, those furthest behind first.

import { part } from "../api.js";
import { empty, fill, h } from "../dom.js";
import { count, duration } from "../format.js";
import { samples } from "../metrics.js";
import { head } from "../page.js";
import { listing } from "../table.js";
import { bootstrap } from "./broker.js";
import { stateBadge, statusBadge } from "./group_parts.js";

export function show(page) {
  /** How old the oldest unread record of each group is, in seconds, as `/metrics` has it. */
  let ages = new Map();
  /** What the list showed last. */
  let items = [];
  const late = ({ group }) => {
    const seconds = ages.get(group);
    return seconds === undefined ? "–" : seconds === 0 ? "none" : duration(seconds * 1000);
  };
  const none = h("div", null);
  bootstrap().then((to) => fill(none, empty("There is no group yet. This one reads a topic and commits:", `tidewheel consume greetings -g my-group -e -b ${to}`)));
  const list = listing(
    page,
    {
      path: "/v1/groups",
      filter: "Filter groups by name",
      sort: "-total_lag",
      limit: 50,
      empty: () => none,
      after: (answer) => {
        items = answer.items;
      },
    },
    {
      caption: "Groups",
      testid: "groups",
      key: (group) => group.group,
      onPick: (group) => {
        location.hash = `#/groups/${part(group.group)}`;
      },
      columns: [
        { id: "group", title: "Group", sort: "group", long: true, cell: (group) => h("a", { href: `#/groups/${part(group.group)}` }, group.group) },
        { id: "state", title: "State", sort: "state", cell: (group) => stateBadge(group.state) },
        { id: "status", title: "Status", sort: "status", cell: (group) => statusBadge(group.status) },
        { id: "members", title: "Members", sort: "members", number: true, cell: (group) => count(group.members) },
        { id: "lag", title: "Lag", sort: "total_lag", number: true, cell: (group) => count(group.total_lag) },
        { id: "late", title: "Lag in time", number: true, cell: late },
        { id: "max", title: "Worst partition’s lag", sort: "max_lag", number: true, phoneOff: true, cell: (group) => count(group.max_lag) },
        { id: "offsets", title: "Offsets", sort: "offsets", number: true, phoneOff: true, cell: (group) => count(group.offsets) },
        { id: "type", title: "Protocol", sort: "type", phoneOff: true, cell: (group) => [group.type, group.protocol].filter(Boolean).join(", ") },
      ],
    },
  );
  page.show(head("Groups"), list.element);
  page.every(10_000, async () => {
    // What cannot be told any more is not shown as it was.
    const text = await page.text({ path: "/metrics" }).catch(() => "");
    ages = new Map(samples(text, ["tidewheel_group_lag_seconds_max"]).map((one) => [one.labels.group, one.value]));
    // Drawn anew, not asked for: the list may take long, and rests as it needs.
    list.table.update(items);
  });
}
