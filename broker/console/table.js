// Tables, and lists that come in pages.

import { append, fill, h } from "./dom.js";
import { count } from "./format.js";

/** Rows of a page of a list. */
const PAGE = 50;
const TYPING_MS = 250;

/**
 * A table.
 * @param {{caption: string, columns: {id: string, title: string, number?: boolean, sort?: string, long?: boolean,
 *   tight?: boolean, acts?: boolean, fill?: boolean, phoneOff?: boolean, cell: (item: any) => any}[], key: (item: any) => string,
 *   onPick?: (item: any) => void, detail?: (item: any) => Node, onSort?: (field: string) => void, testid?: string}} options
 */
export function table(options) {
  const { caption, columns, key, onPick, detail, onSort, testid } = options;
  const body = h("tbody", { role: "rowgroup" });
  const heads = columns.map((column) => {
    const name = column.sort && onSort ? h("button", { type: "button", onclick: () => onSort(column.sort) }, column.title) : column.title;
    return h("th", { scope: "col", role: "columnheader", class: [classOf(column), name === column.title ? "" : "sorts"].filter(Boolean).join(" ") || null }, name);
  });
  const element = h(
    "div",
    { class: "wrap", tabindex: "0", role: "region", "aria-label": caption, "data-testid": testid },
    // The style of a phone makes blocks of rows and cells; the roles say that they are a table all the same.
    h("table", { "aria-label": caption, role: "table" }, h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, heads)), body),
  );
  const open = new Set();

  const row = (item) => {
    const id = key(item);
    const one = h("tr", { "data-key": id, role: "row" }, columns.map((column) => h("td", { class: classOf(column), role: "cell", "data-label": column.title }, column.cell(item))));
    if (onPick || detail) pickable(one, item, id);
    return detail && open.has(id) ? [one, detailRow(item)] : [one];
  };

  const detailRow = (item) => h("tr", { class: "detail", role: "row" }, h("td", { colspan: columns.length, role: "cell" }, detail(item)));

  const pickable = (one, item, id) => {
    one.className = "pick";
    one.tabIndex = 0;
    // The keyboard is on the row; whoever hears the page has a button that says what is open.
    const toggle = detail ? h("button", { type: "button", class: "toggle", tabindex: "-1", "aria-label": "Details", onclick: () => pick() }) : null;
    if (toggle) one.firstElementChild.prepend(toggle);
    const mark = () => {
      one.classList.toggle("open", open.has(id));
      if (!toggle) return;
      toggle.setAttribute("aria-expanded", String(open.has(id)));
      toggle.textContent = open.has(id) ? "▾" : "▸";
    };
    mark();
    const pick = () => {
      if (!detail) return onPick(item);
      if (open.delete(id)) one.nextElementSibling?.remove();
      else {
        open.add(id);
        one.after(detailRow(item));
      }
      return mark();
    };
    one.addEventListener("click", (event) => {
      if (event.target.closest("a, button, input") || isSelecting(one)) return;
      pick();
    });
    one.addEventListener("keydown", (event) => {
      if (event.target !== one) return;
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        pick();
      } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
        event.preventDefault();
        sibling(one, event.key === "ArrowDown")?.focus();
      }
    });
  };

  return {
    element,
    body,
    open,
    /**
     * Rows for these, in their order, and whether they are shown now: not while somebody marks a text or types into
     * one. Whoever works with a row, or with what is open below it, by keyboard stays there.
     */
    update(items) {
      const active = document.activeElement;
      const held = [...body.children].find((one) => one.contains(active));
      const isBelow = Boolean(held?.classList.contains("detail"));
      if (isSelecting(element) || (isBelow && active.matches("input, select, textarea"))) return false;
      const find = finder(active);
      const left = element.scrollLeft;
      fill(body, items.map(row));
      element.scrollLeft = left;
      if (held) find().focus({ preventScroll: true });
      return true;
    },
    /** More rows, the last item first, and no more than `most` of them. */
    prepend(items, most) {
      const made = items.map((item) => row(item)[0]).reverse();
      made.forEach((one) => one.classList.add("fresh"));
      body.prepend(...made);
      while (body.childElementCount > most) {
        const last = body.lastElementChild;
        open.delete(last.dataset.key);
        last.remove();
      }
    },
    /** Shows by what it is sorted. */
    sorted(sort) {
      columns.forEach((column, at) => {
        const way = sort === column.sort ? "ascending" : sort === `-${column.sort}` ? "descending" : null;
        if (column.sort && way) heads[at].setAttribute("aria-sort", way);
        else heads[at].removeAttribute("aria-sort");
        const button = heads[at].querySelector("button");
        if (button) button.textContent = column.title + (way ? (way === "ascending" ? " ▲" : " ▼") : "");
      });
    },
  };
}

/**
 * What finds the same place again when the rows were drawn anew since: the same button in its row, or below it, else the
 * row, or the table where the row is gone. `null` for what stands in no row.
 * @param {Element | null} active
 * @returns {(() => Element) | null}
 */
export function finder(active) {
  const held = active?.closest("tbody > tr");
  if (!held) return null;
  const [body, element] = [held.parentElement, held.closest(".wrap")];
  const isBelow = held.classList.contains("detail");
  const at = focusable(held).indexOf(active);
  const name = (isBelow ? held.previousElementSibling : held)?.dataset.key;
  return () => {
    const again = [...body.children].find((one) => one.dataset.key === name);
    const below = again?.nextElementSibling;
    const place = !isBelow ? again : below?.classList.contains("detail") ? below : null;
    return (place && focusable(place)[at]) ?? (again?.tabIndex === 0 ? again : element);
  };
}

const focusable = (row) => [...row.querySelectorAll("a, button:not(.toggle), input")];

/** Somebody who marks a text to copy it does not want it to go away. */
function isSelecting(element) {
  const selection = getSelection();
  return Boolean(selection && !selection.isCollapsed && element.contains(selection.anchorNode));
}

/** Something else is wanted: what was marked may go. */
export function unselect() {
  getSelection()?.removeAllRanges();
}

function sibling(row, down) {
  let next = row;
  do next = down ? next.nextElementSibling : next.previousElementSibling;
  while (next && !next.classList.contains("pick"));
  return next;
}

function classOf(column) {
  const names = [column.number ? "number" : "", column.long ? "long" : "", column.tight ? "tight" : "", column.acts ? "acts" : "", column.fill ? "fill" : "", column.phoneOff ? "phone-off" : ""];
  return names.join(" ").trim() || null;
}

/**
 * A list of the API with a filter, an order and pages. What was typed stands in the address.
 * @param {import("./page.js").Page} page
 * @param {{path: string, query?: object, filter?: string, sort?: string, limit?: number, empty: () => Node,
 *   every?: number, after?: (answer: any) => void, tools?: any[]}} list
 * @param {Parameters<typeof table>[0]} options of its table
 */
export function listing(page, list, options) {
  const limit = list.limit ?? PAGE;
  let sort = page.query.get("sort") ?? list.sort ?? null;
  let q = page.query.get("q") ?? "";
  let cursors = [null];
  let run = () => {};

  const restart = () => {
    cursors = [null];
    unselect();
    page.remember({ q: list.filter ? q : null, sort: sort === list.sort ? null : sort });
    run();
  };
  const rows = table({
    ...options,
    onSort: (field) => {
      const number = options.columns.find((column) => column.sort === field)?.number;
      const [first, second] = number ? [`-${field}`, field] : [field, `-${field}`];
      sort = sort === first ? second : first;
      restart();
    },
  });
  const wrong = h("div", null);
  const slow = h("div", { class: "note warn", hidden: true }, "There are too many to be sorted by that in time: they come by name.");
  const nothing = h("div", { hidden: true });
  const told = h("span", { "aria-live": "polite", "data-testid": "total" });
  const move = (text, step) => h("button", { type: "button", class: "small", disabled: true, onclick: step }, text);
  const back = move("← Back", () => {
    cursors.pop();
    unselect();
    run();
  });
  let following = null;
  const on = move("Next →", () => {
    cursors.push(following);
    unselect();
    run();
  });
  const pager = h("div", { class: "pager" }, back, on, told);

  const load = async () => {
    const query = { ...list.query, limit, cursor: cursors.at(-1) };
    if (list.filter) query.q = q;
    if (sort) query.sort = sort;
    const answer = await page.get(list.path, query).catch((error) => {
      // To sort by a figure all of them are computed: with very many that takes too long.
      if (error.status !== 503 || !sort || sort !== list.sort) throw error;
      sort = null;
      slow.hidden = false;
      return page.get(list.path, { ...query, sort: null });
    });
    following = answer.next_cursor;
    const total = answer.total ?? null;
    const from = (cursors.length - 1) * limit;
    const none = answer.items.length === 0 && cursors.length === 1 && !q;
    nothing.hidden = !none;
    rows.element.hidden = none;
    if (none) fill(nothing, list.empty());
    rows.update(answer.items);
    rows.sorted(sort);
    back.disabled = cursors.length === 1;
    on.disabled = following === null;
    back.hidden = on.hidden = back.disabled && on.disabled;
    told.textContent = none ? "" : `${answer.items.length ? `${count(from + 1)}–${count(from + answer.items.length)}` : "none"}${total === null ? "" : ` of ${count(total)}`}`;
    list.after?.(answer);
  };
  run = page.refresh(list.every ?? 5000, wrong, load);

  const tools = h("div", { class: "row" });
  if (list.filter) {
    let timer = null;
    const input = h("input", {
      type: "search",
      value: q,
      placeholder: list.filter,
      "aria-label": list.filter,
      "data-testid": "filter",
      oninput: () => {
        clearTimeout(timer);
        timer = setTimeout(() => {
          q = input.value.trim();
          restart();
        }, TYPING_MS);
      },
    });
    input.classList.add("grow");
    tools.append(input);
  }
  append(tools, list.tools ?? []);
  const parts = [tools.childElementCount ? tools : null, wrong, slow, nothing, rows.element, pager];
  return { element: h("div", null, parts), table: rows, reload: () => run(), restart };
}
