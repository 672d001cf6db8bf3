// Figures and times as people read them.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
const UNKNOWN = "–";

const isNothing = (value) => value === null || value === undefined || Number.isNaN(value);

/** `1,234`, or `12.3` where it is not whole. */
export function count(value) {
  if (isNothing(value)) return UNKNOWN;
  const digits = Math.abs(value) < 10 && !Number.isInteger(value) ? 2 : Math.abs(value) < 1000 && !Number.isInteger(value) ? 1 : 0;
  return value.toLocaleString("en", { maximumFractionDigits: digits });
}

/** `12.3k`: for axes. */
export function short(value) {
  if (isNothing(value)) return UNKNOWN;
  if (Math.abs(value) < 1) return value.toLocaleString("en", { maximumSignificantDigits: 2 });
  return value.toLocaleString("en", { notation: "compact", maximumFractionDigits: 1 });
}

/** Bytes in binary units. */
export function bytes(value) {
  if (isNothing(value)) return UNKNOWN;
  let unit = 0;
  let left = value;
  while (Math.abs(left) >= 1024 && unit < UNITS.length - 1) {
    left /= 1024;
    unit += 1;
  }
  const digits = unit > 0 && Math.abs(left) < 100 ? 1 : 0;
  return `${left.toLocaleString("en", { maximumFractionDigits: digits })} ${UNITS[unit]}`;
}

/** A figure of a series by the end of its name. */
export function ofSeries(name) {
  if (name.includes("bytes_") && name.endsWith("per_second")) return (value) => (isNothing(value) ? UNKNOWN : `${bytes(value)}/s`);
  if (name.endsWith("bytes")) return bytes;
  if (name.endsWith("per_second")) return (value) => (isNothing(value) ? UNKNOWN : `${count(value)}/s`);
  return count;
}

/** A span of time in its two largest units. */
export function duration(ms) {
  if (isNothing(ms)) return UNKNOWN;
  const whole = Math.abs(ms);
  if (whole > 0 && whole < 1) return `${Math.round(ms * 1000)} µs`;
  if (whole < 10) return `${Number(ms.toFixed(1))} ms`;
  if (whole < 1000) return `${Math.round(ms)} ms`;
  if (whole < 10_000) return `${(ms / 1000).toFixed(1)} s`;
  let seconds = Math.round(whole / 1000);
  const parts = [];
  for (const [name, size] of [["d", 86_400], ["h", 3600], ["min", 60], ["s", 1]]) {
    const many = Math.floor(seconds / size);
    seconds -= many * size;
    if (many > 0 || parts.length > 0) parts.push([many, name]);
  }
  const shown = parts.slice(0, 2).filter(([many]) => many > 0);
  return `${ms < 0 ? "-" : ""}${shown.map(([many, name]) => `${many} ${name}`).join(" ")}`;
}

/** For how long a topic keeps its records; `null` where age deletes none. */
export function kept(topic) {
  if (!topic.cleanup_policy.includes("delete")) return null;
  return topic.retention_ms === -1 ? "for ever" : `for ${duration(topic.retention_ms)}`;
}

/** How long ago, or in how long. */
export function ago(ms, now = Date.now()) {
  if (isNothing(ms)) return UNKNOWN;
  const past = now - ms;
  if (Math.abs(past) < 1000) return "now";
  return past > 0 ? `${duration(past)} ago` : `in ${duration(-past)}`;
}

const pad = (number, digits = 2) => String(number).padStart(digits, "0");

/** `2026-11-22 09:45:33.120` of this machine. */
export function time(ms) {
  if (isNothing(ms) || ms < 0) return UNKNOWN;
  const at = new Date(ms);
  if (Number.isNaN(at.getTime())) return String(ms);
  const date = `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())}`;
  return `${date} ${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}.${pad(at.getMilliseconds(), 3)}`;
}

/** The same in UTC. */
export function utc(ms) {
  if (isNothing(ms) || ms < 0 || ms > 8.64e15) return UNKNOWN;
  return new Date(ms).toISOString().replace("T", " ").replace("Z", " UTC");
}

/** For an input of the kind `datetime-local`. */
export function forInput(ms) {
  const at = new Date(ms);
  return `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())}T${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`;
}

/** `90`, `90s`, `5m`, `2h`, `7d` in ms; null for anything else. */
export function parseDuration(text) {
  const found = /^\s*(\d+(?:\.\d+)?)\s*(ms|s|m|min|h|d)?\s*$/.exec(text);
  if (!found) return null;
  const unit = { ms: 1, s: 1000, m: 60_000, min: 60_000, h: 3_600_000, d: 86_400_000 }[found[2] ?? "s"];
  return Math.round(Number(found[1]) * unit);
}

/**
 * A whole number that somebody typed. What cannot be read is refused: it must never become another number.
 * @param {string} text as the field gives it
 * @param {string} label of the field
 */
export function integer(text, label) {
  const number = /^\s*-?\d+\s*$/.test(text) ? Number(text) : NaN;
  if (!Number.isSafeInteger(number)) throw new Error(`${label}: a whole number is needed.`);
  return number;
}

/** A setting's value with what it means. */
export function setting(name, value) {
  if (value === null || value === undefined) return UNKNOWN;
  const number = /^-?\d+$/.test(value) ? Number(value) : null;
  if (number === null || number <= 0) return value;
  if (/(^|\.)ms$/.test(name) && number >= 1000) return `${value} (${duration(number)})`;
  if (/bytes(\.|$)/.test(name) && number >= 1024 && number < 2 ** 60) return `${value} (${bytes(number)})`;
  return value;
}
