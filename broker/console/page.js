// What every page has: requests that end with it, work that is done again and again, streams, and its curl lines.

import { ApiError, call, curl, send } from "./api.js";
import { command, fill, h, problem } from "./dom.js";
import { follow } from "./sse.js";

/** Requests whose curl lines a page keeps. */
const LINES_MAX = 25;
/** A page asks no more often than this times what the answer took. */
const REST_FACTOR = 8;

export class Page {
  /**
   * @param {string[]} params parts of the path
   * @param {URLSearchParams} query
   */
  constructor(params, query) {
    this.params = params;
    this.query = query;
    this.root = h("div", { class: "page" });
    this.abort = new AbortController();
    this.closers = [];
    this.lines = new Map();
    this.list = h("div", null);
    this.details = h("details", { class: "requests", "data-testid": "requests", ontoggle: () => this.drawLines() }, h("summary", null, "This page as curl lines"), this.list);
  }

  /** Ends everything that was begun. */
  close() {
    this.abort.abort();
    this.closers.forEach((close) => close());
  }

  get isClosed() {
    return this.abort.signal.aborted;
  }

  /** Puts the content of the page into place. */
  show(...children) {
    fill(this.root, children, this.details);
  }

  /** Changes what the address says without going anywhere. */
  remember(query) {
    for (const [name, value] of Object.entries(query)) {
      if (value === null || value === undefined || value === "") this.query.delete(name);
      else this.query.set(name, value);
    }
    const text = this.query.toString();
    const path = location.hash.split("?")[0] || "#/";
    history.replaceState(null, "", text ? `${path}?${text}` : path);
  }

  note(request) {
    const line = curl(request);
    const place = `${request.method ?? "GET"} ${request.path}`;
    this.lines.delete(place);
    this.lines.set(place, line);
    if (this.lines.size > LINES_MAX) this.lines.delete(this.lines.keys().next().value);
    if (this.details.open) this.drawLines();
  }

  drawLines() {
    const all = [...this.lines.values()].reverse();
    const shown = [...this.list.querySelectorAll("pre")].map((pre) => pre.textContent);
    if (all.join("\n") !== shown.join("\n")) fill(this.list, all.map((line) => command(line)));
  }

  /** A request whose curl line the page shows. */
  async call(request) {
    this.note(request);
    return call({ signal: this.abort.signal, ...request });
  }

  /** The same for what is no JSON. */
  async text(request) {
    this.note(request);
    const answer = await send({ signal: this.abort.signal, accept: "text/plain", ...request });
    return answer.text();
  }

  /** GET. */
  get(path, query) {
    return this.call({ path, query });
  }

  /** Follows a stream until the page is left; gives what closes it sooner. */
  follow(options) {
    this.note({ path: options.path, query: options.query, stream: true });
    const stream = follow(options);
    this.closers.push(() => stream.close());
    return stream;
  }

  /**
   * Does something now and again and again, not while nobody looks, and less often where it takes long.
   * @param {number} [rest] how often what it took it rests afterwards
   * @returns {() => void} does it at once
   */
  every(ms, work, rest = REST_FACTOR) {
    let timer = null;
    let busy = false;
    let again = false;
    const run = async () => {
      clearTimeout(timer);
      if (busy) {
        again = true;
        return;
      }
      if (this.isClosed) return;
      let took = 0;
      if (!document.hidden) {
        busy = true;
        const began = performance.now();
        try {
          await work();
        } catch (error) {
          if (!this.isClosed) console.debug(error);
        }
        took = performance.now() - began;
        busy = false;
      }
      if (this.isClosed) return;
      const wait = again ? 0 : Math.max(ms, took * rest);
      again = false;
      timer = setTimeout(run, wait);
    };
    const onVisible = () => {
      if (!document.hidden) run();
    };
    document.addEventListener("visibilitychange", onVisible);
    this.closers.push(() => {
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", onVisible);
    });
    run();
    return run;
  }

  /** The same with a place that shows what is wrong, and what was there before stays. */
  refresh(ms, place, work) {
    return this.every(ms, async () => {
      try {
        await work();
        place.replaceChildren();
      } catch (error) {
        if (this.isClosed || error.name === "AbortError") return;
        const told = error instanceof ApiError ? error : new Error(`the broker does not answer: ${error.message}`);
        fill(place, problem(told));
      }
    });
  }
}

/** The heading of a page, with what can be done there. */
export function head(title, ...actions) {
  return h("div", { class: "head" }, h("h1", null, title), actions);
}

/** Links between the parts of one thing. */
export function tabs(label, base, names, current) {
  const link = ([name, text]) =>
    h("a", { href: `${base}${name ? `/${name}` : ""}`, "aria-current": name === current ? "page" : null, "data-testid": `tab-${name || "first"}` }, text);
  return h("nav", { class: "tabs", "aria-label": label }, names.map(link));
}
