// A broker that holds nothing: each page says with which command that changes, and the command does it.

import { join } from "node:path";

import { axe } from "./looks.js";
import { Broker, go, id, must, run, shell } from "./world.js";

export async function all(world) {
  await run("empty", () => empty(world));
}

/** Pages in the order in which their commands fill them, and what is there afterwards. */
const PAGES = [
  ["storage", "#/storage", '[data-testid="sizes"] tr[data-key="greetings"]'],
  ["groups", "#/groups", '[data-testid="groups"] tr[data-key="my-group"]'],
  ["delayed", "#/delayed", '[data-testid="pending"] tbody tr'],
  ["consumers", "#/topics/quiet/consumers", '[data-testid="consumers"] tr[data-key="my-group"]'],
];

async function empty({ binary, folder, bin, browser }) {
  const broker = await new Broker(binary, join(folder, "nothing"), ["group.initial.rebalance.delay.ms=0"]).start();
  const page = await browser.page(broker);
  const found = [];
  const commands = () => page.locator('main [data-testid="empty"]:visible pre');
  const told = [];
  for (const hash of ["#/", "#/topics", "#/connections"]) {
    await go(page, hash);
    await commands().first().waitFor();
    found.push(...(await axe(page, "light")).map((one) => `${hash}: ${one}`));
    const [line] = await commands().allTextContents();
    must(line.includes("tidewheel "), `${hash}: ${line}`);
  }
  for (const [name, hash, filled] of PAGES) {
    // From a producer that nobody has to remember.
    if (name === "consumers") broker.kcat(["-P", "-t", "quiet"], "a record");
    await go(page, hash);
    await commands().first().waitFor();
    found.push(...(await axe(page, "light")).map((one) => `${name}: ${one}`));
    await browser.shot(page, `empty-${name}`);
    for (const line of await commands().allTextContents()) {
      const done = shell(line, bin);
      must(done.status === 0, `${line}: ${done.out} ${done.err}`);
      told.push(line);
    }
    await page.locator(filled).first().waitFor();
  }
  await id(page, "producers").locator("tbody tr").first().waitFor();
  must(told.some((line) => line.includes("--delay")) && told.some((line) => line.includes("-g my-group")), told.join("\n"));
  await page.context().close();
  await broker.stop();
  must(found.length === 0, found.join("\n"));
  return told.join("; ");
}
