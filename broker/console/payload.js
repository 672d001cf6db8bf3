// Keys and values of records, as text, JSON or bytes. Nothing in them becomes anything but text.

import { copy, fill, h } from "./dom.js";
import { bytes, count } from "./format.js";

/** Bytes of a hex view. */
const HEX_MAX = 4096;
/** Characters of a cell. */
const CELL_MAX = 200;

/** The bytes of what the API shows. */
export function bytesOf(shown) {
  if (shown.data === null || shown.data === undefined) return new Uint8Array();
  if (shown.format !== "base64") return new TextEncoder().encode(shown.data);
  return Uint8Array.from(atob(shown.data), (c) => c.charCodeAt(0));
}

/** JSON in lines, digit by digit as it was written: numbers of any length stay what they are. */
export function pretty(text) {
  let out = "";
  let depth = 0;
  const line = () => `\n${"  ".repeat(depth)}`;
  for (let at = 0; at < text.length; at += 1) {
    const c = text[at];
    if (c === '"') {
      const from = at;
      for (at += 1; at < text.length && text[at] !== '"'; at += 1) if (text[at] === "\\") at += 1;
      out += text.slice(from, at + 1);
    } else if (c === "{" || c === "[") {
      const rest = /^\s*[}\]]/.exec(text.slice(at + 1, at + 200));
      if (rest) {
        out += c + rest[0].trim();
        at += rest[0].length;
      } else {
        depth += 1;
        out += c + line();
      }
    } else if (c === "}" || c === "]") {
      depth = Math.max(0, depth - 1);
      out += line() + c;
    } else if (c === ",") out += c + line();
    else if (c === ":") out += ": ";
    else if (!/\s/.test(c)) out += c;
  }
  return out;
}

/** `00000000  68 65 6c 6c 6f   hello` */
export function hex(data) {
  const lines = [];
  for (let from = 0; from < Math.min(data.length, HEX_MAX); from += 16) {
    const some = [...data.slice(from, from + 16)];
    const digits = some.map((byte) => byte.toString(16).padStart(2, "0")).join(" ").padEnd(47);
    const text = some.map((byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : ".")).join("");
    lines.push(`${from.toString(16).padStart(8, "0")}  ${digits}  ${text}`);
  }
  if (data.length > HEX_MAX) lines.push(`… ${count(data.length - HEX_MAX)} more bytes`);
  return lines.join("\n");
}

/** A cell of a table. */
export function cell(shown) {
  if (!shown || shown.format === "null") return h("span", { class: "soft" }, "null");
  if (shown.size_bytes === 0) return h("span", { class: "soft" }, "empty");
  if (shown.format === "base64") return h("span", { class: "mono cut soft" }, hex(bytesOf(shown).slice(0, 16)).slice(10), shown.size_bytes > 16 ? " …" : "");
  const text = shown.data.length > CELL_MAX ? `${shown.data.slice(0, CELL_MAX)}…` : shown.data;
  return h("span", { class: "mono cut" }, text.replaceAll("\n", "⏎"));
}

/** The whole of it, in a form to be chosen. */
export function view(title, shown) {
  if (!shown || shown.format === "null") return h("div", null, h("h3", null, title), h("span", { class: "soft" }, "null"));
  const place = h("div", { class: "payload", tabindex: "0", role: "region", "aria-label": title });
  const forms = {
    json: () => h("pre", null, pretty(shown.data)),
    text: () => h("pre", null, shown.format === "base64" ? new TextDecoder().decode(bytesOf(shown)) : shown.data),
    hex: () => h("pre", { class: "hex" }, hex(bytesOf(shown))),
    base64: () => h("pre", null, base64(bytesOf(shown))),
  };
  const names = Object.keys(forms).filter((name) => name !== "json" || shown.format === "json");
  const buttons = names.map((name) => h("button", { type: "button", class: "small", "data-form": name, onclick: () => choose(name) }, name));
  const choose = (name) => {
    fill(place, forms[name]());
    buttons.forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.form === name)));
  };
  choose(shown.format === "json" ? "json" : shown.format === "base64" ? "hex" : "text");
  const size = `${bytes(shown.size_bytes)}${shown.cut ? `, the first ${bytes(bytesOf(shown).length)} shown` : ""}`;
  const tools = h("div", { class: "row" }, h("div", { class: "group", role: "group", "aria-label": `Form of ${title}` }, buttons), h("button", { type: "button", class: "small", onclick: () => copy(place.textContent) }, "Copy"), h("span", { class: "soft" }, size));
  return h("div", null, h("h3", null, title), tools, place);
}

/** Bytes in base64. */
export function base64(data) {
  let text = "";
  for (const byte of data) text += String.fromCharCode(byte);
  return btoa(text);
}

/** Headers of a record. */
export function headers(list) {
  if (!list.length) return null;
  return h(
    "div",
    null,
    h("h3", null, `Headers (${list.length})`),
    h("dl", { class: "facts mono" }, list.map((one) => [h("dt", null, one.key), h("dd", null, one.value.format === "base64" ? hex(bytesOf(one.value)).slice(10) : one.value.data ?? "null")])),
  );
}
