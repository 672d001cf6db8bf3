// Streams of events. An EventSource cannot send a token, so that this reads them itself.

import { headersOf, problemOf, signIn, token, urlOf } from "./api.js";

/** Characters of one event: more is no event of ours. */
const EVENT_MAX = 16 << 20;
const PAUSE_FIRST_MS = 1000;
const PAUSE_MAX_MS = 15_000;

/** Cuts a text that comes in pieces into events. */
export class EventParser {
  constructor() {
    this.text = "";
  }

  /** The events that are whole by now. */
  feed(piece) {
    this.text += piece;
    if (this.text.length > EVENT_MAX) throw new Error("an event is too long");
    const events = [];
    for (;;) {
      const end = this.text.indexOf("\n\n");
      if (end < 0) return events;
      const event = parse(this.text.slice(0, end));
      this.text = this.text.slice(end + 2);
      if (event.data !== null) events.push(event);
    }
  }
}

function parse(block) {
  const event = { name: "message", id: null, data: null };
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    if (colon <= 0) continue;
    const value = line.slice(colon + 1).replace(/^ /, "");
    const field = line.slice(0, colon);
    if (field === "event") event.name = value;
    else if (field === "id") event.id = value;
    else if (field === "data") event.data = event.data === null ? value : `${event.data}\n${value}`;
  }
  return event;
}

/**
 * Follows a stream until it is closed: comes again after a while when it breaks off, and rests while nobody looks.
 * @param {{path: string, query?: object, onEvent: (name: string, data: any) => void,
 *          onState?: (state: string, detail?: string) => void, resume?: boolean}} options
 */
export function follow({ path, query, onEvent, onState = () => {}, resume = false }) {
  let closed = false;
  let abort = null;
  let wake = () => {};
  let lastId = null;

  const shown = () => !document.hidden;
  const onVisible = () => {
    if (shown()) wake();
    else abort?.abort();
  };
  document.addEventListener("visibilitychange", onVisible);

  const pause = (ms) =>
    new Promise((resolve) => {
      const timer = ms === null ? null : setTimeout(resolve, ms);
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });

  const once = async () => {
    abort = new AbortController();
    const used = token();
    const headers = { ...headersOf("GET"), Accept: "text/event-stream" };
    if (resume && lastId !== null) headers["Last-Event-ID"] = lastId;
    const response = await fetch(urlOf(path, query), { headers, signal: abort.signal, cache: "no-store" });
    if (!response.ok) {
      const problem = await problemOf(response);
      if (response.status === 401 && (token() !== used || (await signIn(used ? problem.detail : null)))) return "again";
      onState("refused", problem.detail ?? problem.title);
      return response.status === 503 ? "later" : "over";
    }
    onState("live");
    let isEnded = false;
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    const parser = new EventParser();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) {
        // Such as by something between here and the broker, which says nothing.
        if (!isEnded) onState("ended");
        return "later";
      }
      for (const event of parser.feed(value)) {
        if (event.id !== null) lastId = event.id;
        const data = JSON.parse(event.data);
        if (event.name !== "end") onEvent(event.name, data);
        else {
          isEnded = true;
          onState("ended", data.reason);
        }
      }
    }
  };

  (async () => {
    let wait = PAUSE_FIRST_MS;
    while (!closed) {
      if (!shown()) {
        onState("paused");
        await pause(null);
        continue;
      }
      const began = Date.now();
      let then = "later";
      try {
        then = await once();
      } catch (error) {
        if (closed) return;
        if (shown()) onState("broken", error.message);
      }
      if (then === "over") return;
      if (then === "again" || !shown()) continue;
      wait = Date.now() - began > PAUSE_MAX_MS ? PAUSE_FIRST_MS : Math.min(wait * 2, PAUSE_MAX_MS);
      await pause(wait);
    }
  })();

  return {
    close() {
      closed = true;
      document.removeEventListener("visibilitychange", onVisible);
      abort?.abort();
      wake();
    },
  };
}
