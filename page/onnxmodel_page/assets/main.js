// The page: one store, and one of two views on it.

import { h } from "./dom.js";
import { List } from "./list.js";
import { Model } from "./model.js";
import * as place from "./place.js";
import { Store } from "./store.js";

const main = document.getElementById("main");
const live = document.getElementById("live");
const banner = document.getElementById("banner");
const scope = document.getElementById("scope");
const WORDS = { 401: "You are not signed in", 403: "You may not see this", 421: "This page has another name" };

let view = null;
let due = new Set(); // keys of rows that changed since the last frame; null: everything
let frame = 0;

const store = new Store((keys) => {
  if (keys === null) due = null;
  else if (due) for (const key of keys) due.add(key);
  // A hidden tab has no frames, and nothing to show.
  if (!frame) frame = requestAnimationFrame(show);
});

function show() {
  const keys = due;
  due = new Set();
  frame = 0;
  tell();
  if (store.problem) return refuse(store.problem);
  if (banner.childElementCount) banner.replaceChildren();
  if (!view) route(false);
  view.update(keys);
}

function tell() {
  const late = store.report.state === "Late";
  const loading = store.report.state === "Loading";
  const state = store.problem ? "Off" : late ? "Late" : loading ? "Loading" : store.connected ? "Live" : "Connecting";
  const words = { Off: "Off", Late: "Not up to date", Loading: "Loading", Live: "Live", Connecting: "Connecting" }[state];
  if (live.dataset.state === state && live.title === store.report.message) return;
  live.dataset.state = state;
  live.title = store.report.message;
  live.replaceChildren(h("span", { class: "dot" }), words);
  if (late) live.append(h("span", { class: "unseen" }, `: ${store.report.message}`));
}

function refuse(problem) {
  view?.close();
  view = null;
  main.replaceChildren();
  const form = problem.status === 403 && h("form", {
    class: "ask",
    onsubmit: (event) => {
      event.preventDefault();
      const namespace = new FormData(event.target).get("namespace").trim();
      location.hash = place.list(new URLSearchParams({ in: namespace }));
    },
  },
  h("label", { for: "namespace" }, "Show one namespace"),
  h("input", { id: "namespace", name: "namespace", required: true, autocomplete: "off", spellcheck: "false" }),
  h("button", {}, "Show"));
  banner.replaceChildren(h("section", { class: "refused" },
    h("h1", {}, WORDS[problem.status] ?? "The page cannot be shown"),
    h("p", {}, problem.message),
    form,
    h("p", {}, h("button", { class: "plain", onclick: () => (problem.status === 401 ? location.reload() : store.load()) }, "Try again"))));
}

function route(moved = true) {
  const { asked, key } = place.read();
  const namespace = asked.get("in") ?? "";
  scope.replaceChildren(...(namespace ? [h("a", { class: "chip", href: "#/", title: "Show all namespaces" }, `in ${namespace} ✕`)] : []));
  store.open(namespace);
  if (store.problem) return;
  const kind = key ? Model : List;
  if (!(view instanceof kind) || (key && view.key !== key)) {
    view?.close();
    view = new kind(store, main, { asked, key });
    if (moved) {
      window.scrollTo(0, 0);
      main.focus({ preventScroll: true });
    }
  } else {
    view.moved(asked);
  }
  view.update(null);
}

addEventListener("hashchange", () => route());
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the hash is the address of what is shown
  main.focus();
});
addEventListener("keydown", (event) => {
  if (event.key === "/" && !event.target.closest("input, select, textarea")) {
    const search = document.getElementById("search");
    if (search) {
      event.preventDefault();
      search.focus();
    }
  }
});
tell();
route(false);
