// Elements of the page. Text from outside only ever becomes a text node or the value of an attribute.

/** Attributes that are properties of an element. */
const PROPERTIES = new Set(["value", "checked", "disabled", "selected", "hidden", "indeterminate"]);

/**
 * An element. `onNAME` adds a listener, `style` takes an object; what is null, undefined or false is left out.
 * @param {string} name
 * @param {Record<string, any> | null} [attributes]
 * @param {...any} children nodes and texts, also in arrays
 */
export function h(name, attributes, ...children) {
  const element = document.createElement(name);
  append(element, children);
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "style") Object.entries(value).forEach(([one, what]) => element.style.setProperty(one, what));
    else if (PROPERTIES.has(key)) element[key] = value;
    else element.setAttribute(key, value === true ? "" : String(value));
  }
  return element;
}

/** Adds nodes and texts to an element. */
export function append(element, ...children) {
  const fit = children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
  element.append(...fit.map((child) => (child instanceof Node ? child : document.createTextNode(String(child)))));
  return element;
}

/** Puts other children into an element. */
export function fill(element, ...children) {
  element.replaceChildren();
  return append(element, children);
}

/** A short message that goes away. */
export function toast(text, kind = "") {
  const place = document.getElementById("toasts");
  const one = h("div", { class: `toast ${kind}`, "data-testid": "toast" }, text);
  place.append(one);
  while (place.childElementCount > 4) place.firstElementChild.remove();
  setTimeout(() => one.remove(), kind === "bad" ? 9000 : 5000);
}

/** Puts a text into the clipboard, where the browser lets us: it needs a secure context, as localhost is. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = h("textarea", { value: text, "aria-hidden": "true", style: { position: "fixed", opacity: "0" } });
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (!done) return toast("the browser does not let us copy", "bad");
  }
  return toast("copied");
}

/** A command to copy. */
export function command(text, testid) {
  return h(
    "div",
    { class: "command" },
    h("pre", { "data-testid": testid ?? "command" }, text),
    h("button", { type: "button", class: "small", onclick: () => copy(text), "aria-label": "Copy the command" }, "Copy"),
  );
}

/** What is there instead of nothing: a sentence, and commands that change that. */
export function empty(sentence, ...commands) {
  return h("div", { class: "empty", "data-testid": "empty" }, h("p", null, sentence), commands.map((one) => command(one)));
}

/** A word in a colour. */
export function badge(text, kind) {
  return h("span", { class: `badge ${kind ?? ""}` }, text);
}

/** A figure with its name. */
export function tile(name, value, { more, href, kind, testid } = {}) {
  const parts = [
    h("div", { class: "name" }, name),
    h("div", { class: `value ${kind ? `${kind}-text` : ""}` }, value),
    more ? h("div", { class: "more" }, more) : null,
  ];
  return h(href ? "a" : "div", { class: "tile", href, "data-testid": testid }, parts);
}

/** Names and values. */
export function facts(pairs) {
  const shown = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return h("dl", { class: "facts" }, shown.map(([name, value]) => [h("dt", null, name), h("dd", null, value)]));
}

/** A card with a heading. */
export function card(title, ...children) {
  return h("section", { class: "card" }, title ? h("h2", null, title) : null, children);
}

/** What is wrong: the title, the detail and the parts of a problem document, or the words of any other error. */
export function problem(error) {
  const told = error?.problem;
  if (!told) return h("div", { class: "note bad", role: "alert", "data-testid": "problem" }, String(error?.message ?? error));
  const code = [told.kafka_error, told.status].filter(Boolean).join(", ");
  return h(
    "div",
    { class: "note bad", role: "alert", "data-testid": "problem" },
    h("strong", null, told.title ?? "something is wrong"),
    code ? ` (${code})` : null,
    told.detail ? h("div", null, told.detail) : null,
    told.errors?.length ? h("ul", null, told.errors.map((one) => h("li", null, `${one.pointer}: ${one.detail}`))) : null,
  );
}
