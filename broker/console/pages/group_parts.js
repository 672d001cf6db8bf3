// How a group gets on, in a word.

import { badge } from "../dom.js";

const KINDS = { OK: "good", WARN: "warn", STALL: "bad", STOP: "bad", REWIND: "warn" };
const MEANING = {
  OK: "everything is read, or the lag falls",
  UNKNOWN: "only one commit is known, and it is young",
  WARN: "offsets move on, but the lag never falls",
  STALL: "commits come, always with the same offset",
  STOP: "no commit for longer than the last ones took together",
  REWIND: "the offset went back",
};

/** `OK`, `STALL` and so on, with what it means. */
export function statusBadge(status) {
  if (!status) return "–";
  const one = badge(status, KINDS[status] ?? "");
  one.title = MEANING[status] ?? "";
  return one;
}

/** The state of a group. */
export function stateBadge(state) {
  return badge(state, { Stable: "good", Empty: "", Dead: "bad" }[state] ?? "warn");
}
