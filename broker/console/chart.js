// Charts over time, drawn by uPlot.

import { fill, h } from "./dom.js";
import { bytes, count, short } from "./format.js";

/* global uPlot */

const HEIGHT = 150;
/** A chart is at least as wide as this, in seconds. */
const SHORTEST_S = 30;
/** Points of a chart: what is older goes. */
export const POINTS_MAX = 2000;

const charts = new Set();

/** A colour of the style sheet as the canvas takes it. */
function colour(name) {
  const probe = h("span", { hidden: true, style: { color: `var(${name})` } });
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

/** Draws all charts anew, in other colours. */
export function restyle() {
  charts.forEach((chart) => chart.draw());
}

export class Chart {
  /**
   * @param {{title: string, series: {name: string, label: string, colour: string}[], format: (value: number) => string,
   *   axis?: (value: number) => string, bytes?: boolean, testid?: string}} options
   */
  constructor(options) {
    this.options = options;
    this.data = [[], ...options.series.map(() => [])];
    this.place = h("div", { class: "chart", role: "img" });
    this.values = options.series.map(() => h("b", null, "–"));
    this.at = h("span", { class: "soft" });
    const legend = options.series.map((one, index) =>
      h("span", null, h("span", { class: "swatch", style: { background: `var(${one.colour})` } }), `${one.label} `, this.values[index]),
    );
    this.element = h("section", { class: "card", "data-testid": options.testid }, h("h2", null, options.title), h("div", { class: "legend" }, legend, this.at), this.place);
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(this.place);
    charts.add(this);
  }

  close() {
    charts.delete(this);
    this.observer.disconnect();
    this.plot?.destroy();
  }

  resize() {
    const width = this.place.clientWidth;
    if (width < 40) return;
    if (this.plot) this.plot.setSize({ width, height: HEIGHT });
    else this.draw();
  }

  draw() {
    const width = this.place.clientWidth;
    if (width < 40) return;
    this.plot?.destroy();
    fill(this.place);
    const [soft, line] = [colour("--soft"), colour("--line")];
    const axis = { stroke: soft, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 }, font: "11px system-ui, sans-serif" };
    const label = this.options.axis ?? (this.options.bytes ? (value) => bytes(value).replace(" ", "") : short);
    const options = {
      width,
      height: HEIGHT,
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, sync: { key: "tidewheel" } },
      scales: { x: { time: true, range: () => span(this.data[0][0], this.data[0].at(-1)) }, y: { range: (_, low, high) => range(low, high) } },
      axes: [
        { ...axis, space: 60, size: 28, values: (_, splits, __, ___, step) => splits.map((at) => clock(at, step)) },
        { ...axis, size: 62, values: (_, splits) => splits.map(label), ...(this.options.bytes ? { incrs: POWERS } : {}) },
      ],
      series: [
        {},
        ...this.options.series.map((one) => ({ stroke: colour(one.colour), width: 1.6, points: { show: false, filter: (_, at) => alone(this.data[at]), size: 4 }, spanGaps: false })),
      ],
      hooks: { setCursor: [(plot) => this.read(plot.cursor.idx)] },
    };
    this.plot = new uPlot(options, this.data, this.place);
  }

  /** Shows the figures of a moment, or the last ones. */
  read(index) {
    const at = index ?? this.data[0].length - 1;
    this.values.forEach((value, series) => {
      value.textContent = this.options.format(this.data[series + 1][at]);
    });
    this.at.textContent = index === null || index === undefined ? "" : new Date(this.data[0][at] * 1000).toLocaleTimeString();
    const told = this.options.series.map((one, series) => `${one.label} ${this.options.format(this.data[series + 1].at(-1))}`);
    this.place.setAttribute("aria-label", `${this.options.title}: ${told.join(", ")}`);
  }

  /** All points. `columns` has the values of each series by its name. */
  set(timesMs, columns) {
    const from = Math.max(0, timesMs.length - POINTS_MAX);
    this.data = [timesMs.slice(from).map((ms) => ms / 1000), ...this.options.series.map((one) => (columns[one.name] ?? timesMs.map(() => null)).slice(from))];
    this.redraw();
  }

  /** One more point, and none that are older than `rangeMs`. */
  push(timeMs, values, rangeMs) {
    const [times, ...columns] = this.data;
    if (times.length && timeMs / 1000 <= times.at(-1)) return;
    times.push(timeMs / 1000);
    columns.forEach((column, index) => column.push(values[this.options.series[index].name] ?? null));
    let gone = 0;
    while (gone < times.length && (times[gone] < (timeMs - rangeMs) / 1000 || times.length - gone > POINTS_MAX)) gone += 1;
    if (gone > 0) this.data.forEach((column) => column.splice(0, gone));
    this.redraw();
  }

  redraw() {
    if (this.plot) this.plot.setData(this.data);
    else this.draw();
    this.read(this.plot?.cursor?.idx ?? null);
  }
}

/** Values without a neighbour, which no line shows. */
function alone(values) {
  const isNone = (at) => (values[at] ?? null) === null;
  return [...values.keys()].filter((at) => !isNone(at) && isNone(at - 1) && isNone(at + 1));
}

/** Steps of an axis in bytes. */
const POWERS = Array.from({ length: 50 }, (_, at) => 2 ** at);

/** `10:41`, with seconds where the steps are shorter than a minute. */
function clock(seconds, step) {
  const at = new Date(seconds * 1000);
  const parts = [at.getHours(), at.getMinutes(), ...(step < 60 ? [at.getSeconds()] : [])];
  return parts.map((part) => String(part).padStart(2, "0")).join(":");
}

/** The last moments, where there are few points. */
function span(low, high) {
  const end = high ?? Date.now() / 1000;
  return [Math.min(low ?? end, end - SHORTEST_S), end];
}

/** From zero, with some room above. */
function range(low, high) {
  if (low === null || high === null || low === undefined || high === undefined) return [0, 1];
  const top = Math.max(high, 0);
  return [Math.min(low, 0), top === 0 ? 1 : top * 1.1];
}

/** Bars of what is due when. */
export function bars(items, format = count) {
  const most = Math.max(1, ...items.map((item) => item.value));
  return h(
    "div",
    { class: "bars", "data-testid": "bars" },
    items.map((item) =>
      h(
        "div",
        { class: "one", title: `${item.label}: ${format(item.value)}` },
        h("span", null, item.value ? format(item.value) : ""),
        h("div", { class: `fill ${item.kind ?? ""}`, style: { height: `${(item.value / most) * 70}%` } }),
        h("span", { class: "label" }, item.label),
      ),
    ),
  );
}
