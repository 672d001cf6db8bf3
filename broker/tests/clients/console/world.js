// Brokers, kcat, Chromium, and how cases are told.

import { spawn, spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";

import { chromium } from "playwright-core";

const ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
/** For what must happen at once: far longer than it takes. */
export const PATIENCE_MS = 60_000;
/** Until the browser has told of what it did. */
const TAIL_MS = 300;

/** A broker of our own, which ends with this process: the shell that holds it waits for the end of its input. */
export class Broker {
  constructor(binary, folder, settings = []) {
    this.binary = binary;
    this.folder = folder;
    this.settings = settings;
    this.kafka = "127.0.0.1:0";
    this.http = "127.0.0.1:0";
    mkdirSync(folder, { recursive: true });
  }

  /** Starts it, from the second time on at the same ports. */
  async start() {
    const set = [`listeners=PLAINTEXT://${this.kafka}`, `tidewheel.admin.listen=${this.http}`, ...this.settings];
    const args = ["serve", ...set.flatMap((one) => ["--set", one]), "--data-dir", join(this.folder, "data")];
    const held = '"$@" </dev/null & broker=$!; read how; kill -${how:-TERM} $broker; wait $broker';
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(TIDEWHEEL|KAFKA)_/.test(name)));
    this.shell = spawn("sh", ["-c", held, "sh", this.binary, ...args], { stdio: ["pipe", "pipe", "ignore"], env });
    this.ended = new Promise((resolve) => this.shell.once("exit", resolve));
    const lines = createInterface({ input: this.shell.stdout });
    const line = await Promise.race([new Promise((resolve) => lines.once("line", resolve)), this.ended.then(() => null)]);
    if (line === null) throw new Error("the broker does not start");
    const ready = JSON.parse(line);
    this.kafka = ready.listeners[0].replace("PLAINTEXT://", "");
    this.http = ready.admin;
    this.url = `http://${this.http}`;
    return this;
  }

  async stop() {
    this.shell?.stdin.end();
    await this.ended;
  }

  /** Without a word, and without syncs of thousands of logs. */
  async kill() {
    this.shell.stdin.end("KILL\n");
    await this.ended;
  }

  /** What the API says. */
  async api(method, path, body, token) {
    const headers = { "X-Requested-With": "test" };
    if (body) headers["Content-Type"] = "application/json";
    if (token) headers.Authorization = `Bearer ${token}`;
    const answer = await fetch(this.url + path, { method, headers, body: body ? JSON.stringify(body) : undefined });
    return { status: answer.status, body: await answer.json() };
  }

  /** kcat, which must succeed; gives its output. */
  kcat(args, input = "") {
    const done = spawnSync("kcat", ["-b", this.kafka, ...args], { input, timeout: PATIENCE_MS });
    if (done.status !== 0) throw new Error(`kcat ${args.join(" ")}: ${done.status} ${done.stderr}`);
    return String(done.stdout);
  }

  /** One that goes on until it is killed. */
  kcatRuns(args) {
    const child = spawn("kcat", ["-b", this.kafka, ...args], { stdio: ["ignore", "pipe", "ignore"] });
    child.out = "";
    child.stdout.on("data", (some) => {
      child.out += some;
    });
    return child;
  }
}

/** A line for the shell, as it stands on a page; `bin` is a folder with programs that are found first. */
export function shell(line, bin = null) {
  const path = bin ? `${bin}:${process.env.PATH}` : process.env.PATH;
  const done = spawnSync("sh", ["-c", line], { timeout: PATIENCE_MS, env: { ...process.env, PATH: path } });
  return { status: done.status, out: String(done.stdout), err: String(done.stderr) };
}

/** Waits until something is so. */
export async function eventually(what, look) {
  const until = Date.now() + PATIENCE_MS;
  let last = null;
  while (Date.now() < until) {
    try {
      const found = await look();
      if (found) return found;
    } catch (error) {
      last = error;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`${what}: it does not come${last ? `: ${last.message}` : ""}`);
}

export function must(holds, what) {
  if (!holds) throw new Error(what);
}

/** A browser, and what its pages did that they must not. */
export class Browser {
  constructor(shots) {
    this.shots = shots;
    this.faults = [];
    /** What a case does wrong on purpose, while it does. */
    this.expected = [];
    mkdirSync(shots, { recursive: true });
  }

  async start() {
    const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
    this.chromium = await chromium.launch({ executablePath, args: ARGUMENTS });
    return this;
  }

  /** A page of a broker with storage of its own. */
  async page(broker, options = {}) {
    const context = await this.chromium.newContext({ viewport: { width: 1280, height: 800 }, colorScheme: "light", reducedMotion: "reduce", ...options });
    context.setDefaultTimeout(PATIENCE_MS);
    const page = await context.newPage();
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) this.fault(`console: ${message.text()} ${message.location().url}`);
    });
    page.on("pageerror", (error) => this.fault(`error: ${error.stack ?? error.message}`));
    page.on("request", (request) => {
      if (!request.url().startsWith(`${broker.url}/`)) this.fault(`a request leaves the origin: ${request.url()}`);
    });
    page.on("response", (response) => {
      if (response.status() >= 400) this.fault(`status of ${response.status()} for ${response.request().method()} ${response.url()}`);
    });
    page.on("dialog", (dialog) => this.fault(`a dialog: ${dialog.message()}`));
    const response = await page.goto(`${broker.url}/`);
    must(response.status() === 200, `the page answers ${response.status()}`);
    return page;
  }

  /** What fits one of the patterns is no fault while this is done, and for a moment afterwards. */
  async allowing(patterns, body) {
    this.expected.push(...patterns);
    try {
      return await body();
    } finally {
      await new Promise((resolve) => setTimeout(resolve, TAIL_MS));
      this.expected = this.expected.filter((one) => !patterns.includes(one));
    }
  }

  fault(text) {
    if (!this.expected.some((pattern) => pattern.test(text))) this.faults.push(text);
  }

  async shot(page, name, options = {}) {
    await page.screenshot({ path: join(this.shots, `${name}.png`), ...options });
  }
}

/** Goes to an address of the console. */
export async function go(page, hash) {
  await page.evaluate((to) => {
    location.hash = to;
  }, hash);
  await page.waitForFunction((to) => location.hash.split("?")[0] === to.split("?")[0], hash);
}

export const id = (page, name) => page.locator(`[data-testid="${name}"]`);

/** For an input of a date and a time. */
export const local = (page, ms) =>
  page.evaluate((at) => {
    const here = new Date(at - new Date(at).getTimezoneOffset() * 60_000);
    return here.toISOString().slice(0, 19);
  }, ms);

const seen = [];

/** Runs a case and tells how it went. */
export async function run(name, body) {
  const began = Date.now();
  let [ok, detail] = [true, ""];
  try {
    detail = (await body()) ?? "";
  } catch (error) {
    [ok, detail] = [false, String(error.stack ?? error).slice(0, 1500)];
  }
  seen.push({ name, ok });
  console.log(JSON.stringify({ case: name, ok, detail: String(detail), ms: Date.now() - began }));
  return ok;
}

export const allWell = () => seen.every((one) => one.ok);
