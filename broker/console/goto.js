// Go to a page, a topic or a group by a few letters.

import { call, part } from "./api.js";
import { open } from "./dialogs.js";
import { fill, h } from "./dom.js";

const FOUND_MAX = 8;
const TYPING_MS = 150;

/** Opens the dialog. */
export function goTo(pages) {
  let chosen = 0;
  let found = [];
  let asked = 0;
  let timer = null;
  const list = h("ul", { role: "listbox", id: "goto-list", "aria-label": "Found" });
  const input = h("input", {
    type: "search",
    placeholder: "page, topic or group",
    "aria-label": "Go to",
    role: "combobox",
    "aria-expanded": "true",
    "aria-controls": "goto-list",
    autocomplete: "off",
    "data-testid": "goto",
    oninput: () => {
      clearTimeout(timer);
      timer = setTimeout(look, TYPING_MS);
    },
    onkeydown: (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (step && found.length) {
        event.preventDefault();
        chosen = (chosen + step + found.length) % found.length;
        draw();
      } else if (event.key === "Enter" && found[chosen]) {
        event.preventDefault();
        go(found[chosen]);
      }
    },
  });
  const dialog = open("Go to", h("div", { class: "goto" }, input, list));

  function go(one) {
    dialog.close();
    location.hash = one.href;
  }

  function draw() {
    fill(
      list,
      found.map((one, index) =>
        h("li", { role: "option", id: `goto-${index}`, "aria-selected": String(index === chosen), onclick: () => go(one) }, h("span", { class: "soft" }, one.kind), one.name),
      ),
    );
    input.setAttribute("aria-activedescendant", found.length ? `goto-${chosen}` : "");
  }

  async function look() {
    const q = input.value.trim();
    const mine = (asked += 1);
    const fits = pages.filter((page) => page.title.toLowerCase().includes(q.toLowerCase()));
    found = fits.map((page) => ({ kind: "page", name: page.title, href: page.menu }));
    chosen = 0;
    draw();
    if (!q) return;
    const ask = (path) => call({ path, query: { q, limit: FOUND_MAX, stats: false } }).catch(() => ({ items: [] }));
    const [topics, groups] = await Promise.all([ask("/v1/topics"), ask("/v1/groups")]);
    if (mine !== asked) return;
    found.push(...topics.items.map((one) => ({ kind: "topic", name: one.name, href: `#/topics/${part(one.name)}` })));
    found.push(...groups.items.map((one) => ({ kind: "group", name: one.group, href: `#/groups/${part(one.group)}` })));
    draw();
  }

  input.focus();
  look();
}
