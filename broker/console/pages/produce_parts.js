// A record for the form: what the form can hold of one that is there, and the same line by line.

import { quoted } from "../api.js";
import { base64, bytesOf } from "../payload.js";

/** Headers that the API shows of a record: where there are as many, there may be more. */
const HEADERS_MAX = 100;
/** Bytes of a header's name that the API shows. */
const NAME_MAX = 4096;
const VALUE_MAX = 700_000;

/** A `NAME: VALUE` line as a header. */
function header(line) {
  const at = line.indexOf(":");
  if (at <= 0) throw new Error(`"${line}" is not NAME: VALUE`);
  return { key: line.slice(0, at).trim(), value: line.slice(at + 1).trim() };
}

/** The headers of lines. */
export const headersOf = (text) => text.split("\n").filter((one) => one.trim()).map(header);

/** What the API shows, as it takes it. */
function payload(shown) {
  if (shown.format === "null") return null;
  return shown.format === "base64" ? { base64: shown.data } : shown.data;
}

/** What a field cannot hold as text: bytes that are none, and ends of lines that a browser changes. */
const isBinary = (shown, breaks) => shown.format === "base64" || breaks.test(shown.data ?? "");

/**
 * A record of the topic, for the fields of the form and as it is sent again.
 * @param {import("../page.js").Page} page its address says which one
 * @param {string} path of the topic's records
 */
export async function taken(page, path) {
  const [partition, offset] = page.query.get("from").split(":");
  const answer = await page.get(path, { partition, offset, limit: 1, max_value_bytes: VALUE_MAX });
  const record = answer.items[0];
  if (!record || String(record.offset) !== offset) throw new Error(`There is no record ${offset} any more.`);
  const { key, value, headers } = record;
  const size = (text) => new TextEncoder().encode(text).length;
  if (key.cut || value.cut) throw new Error("This form cannot hold the record: it is too large.");
  if (headers.length >= HEADERS_MAX) throw new Error(`This form cannot hold the record: it has ${HEADERS_MAX} headers or more.`);
  if (headers.some((one) => one.value.cut || size(one.key) >= NAME_MAX)) throw new Error("This form cannot hold the record: one of its headers is too long.");
  const encoded = isBinary(key, /[\r\n]/) || isBinary(value, /\r/);
  const text = (shown) => (encoded ? base64(bytesOf(shown)) : shown.data ?? "");
  const lines = headers.map((one) => `${one.key}: ${one.value.data ?? ""}`).join("\n");
  return {
    partition,
    offset,
    encoded,
    isTombstone: value.format === "null",
    texts: { key: text(key), value: text(value), headers: lines },
    key: payload(key) ?? undefined,
    // Whoever takes the tombstone away wants a value.
    value: payload(value) ?? "",
    headers: headers.map((one) => ({ key: one.key, value: payload(one.value) })),
    canEditHeaders: canEdit(headers, lines),
  };
}

/** Whether the lines say all of the headers. */
function canEdit(headers, lines) {
  try {
    const again = headersOf(lines);
    const isSame = (one, at) => one.value.format !== "base64" && one.key === again[at].key && one.value.data === again[at].value;
    return again.length === headers.length && headers.every(isSame);
  } catch {
    return false;
  }
}

/**
 * The same by kcat, where one line can say exactly that; else null.
 * @param {string} to where the broker is
 * @param {{name: string, partitions: number}} topic
 * @param {object} record as it goes to the API
 * @param {string} mode `delay.mode` of the topic
 * @param {number | null} wait for how many ms it is delayed, where it is not until a time
 */
export function kcatLine(to, topic, record, mode, wait) {
  const { key, value, headers = [] } = record;
  const isWord = (text) => typeof text === "string" && text !== "" && !/[\r\n\0]/.test(text);
  if (key !== undefined && !isWord(key)) return null;
  if (value === undefined ? !isWord(key) || key.includes(":") : !isWord(value)) return null;
  if (!headers.every((one) => isWord(one.key) && isWord(one.value) && !one.key.includes("="))) return null;
  const words = ["kcat", "-b", to, "-P", "-t", quoted(topic.name)];
  // Kafka's clients and the broker choose partitions by keys in another way than librdkafka.
  if (record.partition !== undefined) words.push("-p", record.partition);
  else if (key !== undefined && topic.partitions > 1) words.push("-X", "topic.partitioner=murmur2_random");
  headers.forEach((one) => words.push("-H", quoted(`${one.key}=${one.value}`)));
  if (record.deliver_at_ms !== undefined) {
    // A timestamp that says it is none that kcat can give.
    if (mode !== "header" && mode !== "both") return null;
    words.push("-H", wait === null ? `delay-until=${record.deliver_at_ms}` : `delay-ms=${wait}`);
  }
  if (value === undefined) return `printf '%s:\\n' ${quoted(key)} | ${[...words, "-Z", "-K:"].join(" ")}`;
  if (key !== undefined) words.push("-k", quoted(key));
  return `printf %s ${quoted(value)} | ${words.join(" ")}`;
}
