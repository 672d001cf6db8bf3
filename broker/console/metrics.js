// What /metrics tells: for figures that the rest of the API has not, such as latencies and the rates of each topic.

const SAMPLE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

/**
 * The samples of some families.
 * @param {string} text in the classic format
 * @param {string[]} names
 * @returns {{name: string, labels: Record<string, string>, value: number}[]}
 */
export function samples(text, names) {
  const wanted = new Set(names);
  const found = [];
  let from = 0;
  while (from < text.length) {
    let end = text.indexOf("\n", from);
    if (end < 0) end = text.length;
    const line = text.slice(from, end);
    from = end + 1;
    if (line.startsWith("#")) continue;
    const parts = SAMPLE.exec(line);
    if (!parts || !wanted.has(parts[1])) continue;
    const labels = {};
    for (const [, name, value] of (parts[2] ?? "").matchAll(LABEL)) labels[name] = value.replace(/\\(.)/g, (_, c) => (c === "n" ? "\n" : c));
    found.push({ name: parts[1], labels, value: Number(parts[3].replace("+Inf", "Infinity")) });
  }
  return found;
}

const bound = (text) => (text === "+Inf" ? Infinity : Number(text));

/** Latencies between two scrapes, from the buckets of a histogram. */
export class Latencies {
  /**
   * @param {string} family
   * @param {(labels: Record<string, string>) => string | null} nameOf which of several a sample is of, null for none
   */
  constructor(family, nameOf) {
    this.family = `${family}_bucket`;
    this.nameOf = nameOf;
    this.before = null;
  }

  /** Of what was done since the last time: `{api, count, p50, p99, p999}` in seconds, the busiest first. */
  take(text) {
    const now = new Map();
    for (const { labels, value } of samples(text, [this.family])) {
      const name = this.nameOf(labels);
      if (name === null) continue;
      if (!now.has(name)) now.set(name, new Map());
      now.get(name).set(bound(labels.le), value);
    }
    const before = this.before;
    this.before = now;
    const rows = [];
    for (const [api, buckets] of now) {
      const old = before?.get(api);
      const rises = [...buckets].sort(([a], [b]) => a - b).map(([le, value]) => [le, value - (old?.get(le) ?? 0)]);
      const total = rises.at(-1)?.[1] ?? 0;
      if (total > 0) rows.push({ api, count: total, p50: quantile(rises, 0.5), p99: quantile(rises, 0.99), p999: quantile(rises, 0.999), sinceStart: before === null });
    }
    return rows.sort((a, b) => b.count - a.count);
  }
}

/** Where a share of all lies, in a bucket as if they were spread evenly there. */
export function quantile(buckets, share) {
  const total = buckets.at(-1)?.[1] ?? 0;
  const wanted = total * share;
  let [low, below] = [0, 0];
  for (const [le, upTo] of buckets) {
    if (upTo >= wanted && upTo > below) {
      if (le === Infinity) return low;
      return low + ((le - low) * (wanted - below)) / (upTo - below);
    }
    [low, below] = [le, upTo];
  }
  return low;
}

/** Rates of counters by a label, between two scrapes. */
export class Rates {
  /** @param {Record<string, string>} families what each is called here */
  constructor(families, label) {
    this.families = families;
    this.label = label;
    this.before = null;
    this.rates = new Map();
  }

  /** What rises by the second, by the label. */
  take(text, now = performance.now()) {
    const seen = new Map();
    for (const { name, labels, value } of samples(text, Object.keys(this.families))) {
      const key = `${this.families[name]} ${labels[this.label]}`;
      seen.set(key, (seen.get(key) ?? 0) + value);
    }
    const seconds = this.before ? (now - this.before.at) / 1000 : 0;
    if (seconds > 0) {
      this.rates = new Map([...seen].map(([key, value]) => [key, Math.max(0, value - (this.before.seen.get(key) ?? 0)) / seconds]));
    }
    this.before = { at: now, seen };
  }

  /** One of them, or null where it is not known. */
  of(family, label) {
    return this.rates.get(`${family} ${label}`) ?? null;
  }
}
