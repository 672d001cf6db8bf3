// Drives the web console in Chromium against brokers of its own, fed by kcat, and prints a line for each
// case. node main.js BROKER-BINARY FOLDER SHOTS

import { mkdirSync, symlinkSync } from "node:fs";
import { join, resolve } from "node:path";

import * as delayed from "./delayed.js";
import * as empty from "./empty.js";
import * as groups from "./groups.js";
import * as looks from "./looks.js";
import * as many from "./many.js";
import * as records from "./records.js";
import * as rest from "./rest.js";
import * as topics from "./topics.js";
import { allWell, Broker, Browser, must, run } from "./world.js";

const [binary, folder, shots] = process.argv.slice(2);
const SETTINGS = ["num.partitions=3", "tidewheel.admin.produce=true", "group.initial.rebalance.delay.ms=0"];

const browser = await new Browser(shots).start();
const broker = await new Broker(binary, join(folder, "one"), SETTINGS).start();
/** Where the commands of pages find `tidewheel`. */
const bin = join(folder, "bin");
mkdirSync(bin);
symlinkSync(resolve(binary), join(bin, "tidewheel"));
const world = { binary, folder, bin, browser, broker, settings: SETTINGS };
world.page = await browser.page(broker);

for (const suite of [topics, records, groups, delayed, rest, looks]) await suite.all(world);
await rest.folder(world);
await rest.alarms(world);
await rest.restart(world);
// It would go on to ask a broker that is gone.
await world.page.context().close();
await broker.stop();
await rest.tokens(world);
await empty.all(world);
await many.all(world);
await run("no-faults", () => {
  must(browser.faults.length === 0, [...new Set(browser.faults)].join("\n"));
  return "no console error, no request to another origin";
});
await browser.chromium.close();
process.exit(allWell() ? 0 : 1);
