// Begins: pages by their address, how the broker stands, light and dark, keys.

import { decline, hasDeclined, onSignIn, setToken, token, urlOf } from "./api.js";
import { restyle } from "./chart.js";
import { askToken } from "./dialogs.js";
import { fill, h, problem, toast } from "./dom.js";
import { goTo } from "./goto.js";
import { head, Page } from "./page.js";
import * as config from "./pages/config.js";
import * as connections from "./pages/connections.js";
import * as delayed from "./pages/delayed.js";
import * as group from "./pages/group.js";
import * as groups from "./pages/groups.js";
import * as logs from "./pages/logs.js";
import * as overview from "./pages/overview.js";
import * as storage from "./pages/storage.js";
import * as topic from "./pages/topic.js";
import * as topics from "./pages/topics.js";

const STATE_MS = 5000;

/** Addresses behind the `#`, and what is there. */
const PAGES = [
  { pattern: /^\/$/, show: overview.show, title: "Overview", menu: "#/" },
  { pattern: /^\/topics$/, show: topics.show, title: "Topics", menu: "#/topics" },
  { pattern: /^\/topics\/([^/]+)(?:\/([a-z]+))?$/, show: topic.show, title: "Topic", menu: "#/topics" },
  { pattern: /^\/groups$/, show: groups.show, title: "Groups", menu: "#/groups" },
  { pattern: /^\/groups\/([^/]+)$/, show: group.show, title: "Group", menu: "#/groups" },
  { pattern: /^\/delayed$/, show: delayed.show, title: "Delayed", menu: "#/delayed" },
  { pattern: /^\/connections$/, show: connections.show, title: "Connections", menu: "#/connections" },
  { pattern: /^\/storage$/, show: storage.show, title: "Storage", menu: "#/storage" },
  { pattern: /^\/config$/, show: config.show, title: "Configuration", menu: "#/config" },
  { pattern: /^\/logs$/, show: logs.show, title: "Logs", menu: "#/logs" },
];
const MENU = PAGES.filter((page) => !page.pattern.source.includes("("));

let current = null;
const main = document.getElementById("main");
const nav = document.getElementById("nav");
/** What every page says while nothing is served yet. */
const standing = h("div", { class: "note warn", role: "status", hidden: true, "data-testid": "standing" });
const menu = document.getElementById("menu");

function route() {
  const [path, query] = (location.hash.slice(1) || "/").split("?");
  let found = PAGES.map((page) => [page, page.pattern.exec(path)]).find(([, match]) => match);
  current?.close();
  let params = [];
  try {
    params = (found?.[1].slice(1) ?? []).map((one) => (one === undefined ? "" : decodeURIComponent(one)));
  } catch {
    // An address that nobody has made here.
    found = undefined;
  }
  current = new Page(params, new URLSearchParams(query ?? ""));
  fill(main, standing, current.root);
  const title = params[0] ?? found?.[0].title ?? "Nothing here";
  document.title = `${title} · Tidewheel`;
  drawMenu(found?.[0].menu);
  openMenu(false);
  try {
    if (found) found[0].show(current);
    else current.show(head("There is no such page"), h("p", null, h("a", { href: "#/" }, "Overview")));
  } catch (error) {
    current.show(head("This page is broken"), problem(error));
    console.error(error);
  }
}

function drawMenu(active) {
  const link = (page) => h("li", null, h("a", { href: page.menu, "aria-current": page.menu === active ? "page" : null }, page.title));
  fill(nav, h("ul", null, MENU.map(link)));
}

function openMenu(open) {
  nav.classList.toggle("open", open);
  menu.setAttribute("aria-expanded", String(open));
}

/** How the broker stands, for everybody and without a token. */
async function look() {
  const badge = document.getElementById("state");
  const tell = (text, kind) => {
    if (badge.textContent !== text) badge.textContent = text;
    badge.className = `badge ${kind}`;
  };
  if (document.hidden) return;
  try {
    const answer = await fetch(urlOf("/readyz"), { cache: "no-store", signal: AbortSignal.timeout(STATE_MS) });
    const ready = await answer.json();
    const broken = (ready.checks ?? []).filter((check) => check.status !== "ok");
    const kind = { ok: "good", degraded: "warn" }[ready.status] ?? "bad";
    tell(ready.status === "ok" ? ready.broker_state : `${ready.broker_state}: ${broken.map((one) => one.name).join(", ") || ready.status}`, kind);
    const details = broken.map((check) => `${check.name}: ${check.detail ?? check.status}`);
    badge.title = details.join("\n");
    const told = `The broker does not serve now (${ready.broker_state}). ${details.join("; ")}`;
    standing.hidden = ready.broker_state === "RUNNING";
    if (!standing.hidden && standing.textContent !== told) standing.textContent = told;
  } catch {
    tell("no answer, trying again", "bad");
  }
}

function theme() {
  const root = document.documentElement;
  const next = { undefined: "dark", dark: "light", light: undefined }[root.dataset.theme];
  if (next) root.dataset.theme = next;
  else delete root.dataset.theme;
  try {
    if (next) localStorage.setItem("tidewheel.theme", next);
    else localStorage.removeItem("tidewheel.theme");
  } catch {
    // It lasts until the page is left.
  }
  drawTheme();
  restyle();
}

function drawTheme() {
  const chosen = document.documentElement.dataset.theme;
  fill(document.getElementById("theme"), h("span", { class: "wide" }, "Theme: "), chosen ?? "system");
}

function keys(event) {
  const typing = event.target.closest?.("input, textarea, select, dialog");
  if ((event.key === "k" && (event.ctrlKey || event.metaKey)) || (event.key === "/" && !typing)) {
    if (document.querySelector("dialog[open]")) return;
    event.preventDefault();
    goTo(MENU);
  } else if (event.key === "Escape" && nav.classList.contains("open")) {
    openMenu(false);
    menu.focus();
  }
}

function begin() {
  onSignIn(askToken);
  const signOut = document.getElementById("signout");
  const drawSignOut = () => {
    signOut.hidden = !token() && !hasDeclined();
    signOut.textContent = token() ? "Sign out" : "Sign in";
  };
  document.addEventListener("token", drawSignOut);
  drawSignOut();
  signOut.addEventListener("click", () => {
    decline(false);
    if (token()) toast("signed out");
    setToken(null);
    route();
  });
  document.getElementById("where").textContent = location.host;
  document.getElementById("theme").addEventListener("click", theme);
  document.getElementById("goto").addEventListener("click", () => goTo(MENU));
  document.getElementById("skip").addEventListener("click", () => main.focus());
  menu.addEventListener("click", () => openMenu(!nav.classList.contains("open")));
  document.addEventListener("keydown", keys);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", restyle);
  addEventListener("hashchange", () => {
    route();
    main.focus({ preventScroll: true });
    scrollTo(0, 0);
  });
  drawTheme();
  route();
  look();
  setInterval(look, STATE_MS);
}

begin();
