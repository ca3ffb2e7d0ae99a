// The list: search, filters, order and pages over all rows in memory. Only the rows of one page are in the document.

import { badge, h, mark, s } from "./dom.js";
import { count, milliseconds, number, rate, since } from "./format.js";
import * as place from "./place.js";

const PAGE = 50;
const HEALTHS = ["Stalled", "Degraded", "Reconciling", "Suspended", "Ready"]; // what needs somebody comes first
const COLUMNS = [
  ["name", "Model", "Model"],
  ["health", "State", "State"],
  ["provider", "Provider", "Provider"],
  ["p99", "p99", "Latency p99", "number"],
  ["throughput", "Throughput", "Throughput", "number"],
  ["replicas", "Replicas", "Replicas", "number"],
  ["created", "Age", "Age", "number"],
];
const words = new Intl.Collator("en", { numeric: true });
const VALUES = {
  health: (row) => HEALTHS.indexOf(row.health),
  provider: (row) => row.provider || null,
  p99: (row) => row.p99,
  throughput: (row) => row.throughput,
  replicas: (row) => (row.replicas ? Number(row.replicas.split("/")[1]) : null),
  created: (row) => -Date.parse(row.created),
};
const keyOf = (row) => `${row.namespace}/${row.name}`;
const byName = (a, b) => words.compare(a.name, b.name) || words.compare(a.namespace, b.namespace);

function order(name) {
  const down = name.startsWith("-");
  const value = VALUES[name.replace("-", "")];
  const sign = down ? -1 : 1;
  if (!value) return (a, b) => sign * byName(a, b);
  return (a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === y) return byName(a, b);
    if (x === null) return 1; // what has no value comes last, in both orders
    if (y === null) return -1;
    return sign * (typeof x === "string" ? words.compare(x, y) : x - y) || byName(a, b);
  };
}

// Rows that the search and the filters leave, but for the filter of health, of which the chips count all.
export function matching(rows, asked) {
  const sought = (asked.get("q") ?? "").toLowerCase().split(/\s+/).filter(Boolean);
  const namespace = asked.get("namespace");
  const provider = asked.get("provider");
  return [...rows].filter((row) => {
    if (namespace && row.namespace !== namespace) return false;
    if (provider && row.provider !== provider) return false;
    if (!sought.length) return true;
    const text = `${keyOf(row)} ${row.health} ${row.phase} ${row.reason} ${row.provider} ${row.variant} ${row.runtime}`.toLowerCase();
    return sought.every((word) => text.includes(word));
  });
}

export class List {
  constructor(store, main, { asked }) {
    this.store = store;
    this.asked = asked;
    this.shown = new Map(); // key → {row, element}
    this.search = h("input", {
      id: "search", type: "search", placeholder: "Search models, providers, reasons", autocomplete: "off", spellcheck: "false",
      "aria-label": "Search", "aria-keyshortcuts": "/", oninput: () => this.ask({ q: this.search.value }),
    });
    this.namespace = this.select("namespace", "All namespaces");
    this.provider = this.select("provider", "All providers");
    this.sort = h("select", { "aria-label": "Order", class: "narrow", onchange: () => this.ask({ sort: this.sort.value }) },
      COLUMNS.map(([name, , title]) => h("option", { value: name === "health" ? "" : name }, `By ${title.toLowerCase()}`)));
    this.chips = h("div", { class: "chips", role: "group", "aria-label": "Filter by state" });
    this.body = h("tbody", { role: "rowgroup" });
    this.heads = COLUMNS.map(([name, short, title, kind]) =>
      h("th", { scope: "col", role: "columnheader", class: kind },
        h("button", { title: `Order by ${title.toLowerCase()}`, onclick: () => this.turn(name) }, short)));
    this.table = h("table", { class: "models", role: "table", "aria-label": "Models" },
      h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, this.heads)), this.body);
    this.none = h("p", { class: "none", hidden: true });
    this.pager = h("nav", { class: "pager", "aria-label": "Pages" });
    main.replaceChildren(
      h("h1", { class: "unseen" }, "All models"),
      h("search", { class: "tools" }, this.chips, h("div", { class: "fields" }, this.search, this.namespace, this.provider, this.sort)),
      this.table, this.none, this.pager);
    document.title = "OnnxModels";
    this.fields();
  }

  select(name, all) {
    const element = h("select", { "aria-label": all.replace("All ", "Of one of the "), onchange: () => this.ask({ [name]: element.value }) });
    element.dataset.all = all;
    return element;
  }

  close() {}

  moved(asked) {
    this.asked = asked;
    this.fields();
  }

  fields() {
    place.remember(this.asked);
    const text = this.asked.get("q") ?? "";
    if (this.search.value !== text) this.search.value = text;
    const sort = this.asked.get("sort") ?? "";
    this.sort.value = sort.replace("-", "");
    const [by, down] = [sort.replace("-", "") || "health", sort.startsWith("-")];
    COLUMNS.forEach(([name], index) => {
      if (name === by) this.heads[index].setAttribute("aria-sort", down ? "descending" : "ascending");
      else this.heads[index].removeAttribute("aria-sort");
    });
  }

  ask(changes) {
    this.asked = place.replace(this.asked, { page: "", ...changes });
    this.fields();
    this.update(null);
  }

  // The same column again: the other way round.
  turn(name) {
    const now = this.asked.get("sort") || "health";
    const next = now === name ? `-${name}` : name;
    this.ask({ sort: next === "health" ? "" : next });
  }

  update(changed) {
    if (changed && !changed.size) return;
    const all = matching(this.store.rows.values(), this.asked);
    const health = this.asked.get("health");
    const rows = (health ? all.filter((row) => row.health === health) : all).sort(order(this.asked.get("sort") || "health"));
    const pages = Math.max(1, Math.ceil(rows.length / PAGE));
    const page = Math.min(Math.max(1, Number(this.asked.get("page")) || 1), pages);
    this.count(all, health);
    this.options(this.namespace, "namespace");
    this.options(this.provider, "provider");
    this.fill(rows.slice((page - 1) * PAGE, page * PAGE), changed);
    this.turnPages(page, pages, rows.length);
    this.tellNone(rows.length);
  }

  count(all, health) {
    const counts = { "": all.length };
    for (const row of all) counts[row.health] = (counts[row.health] ?? 0) + 1;
    const told = JSON.stringify([counts, health]);
    if (told === this.told) return;
    this.told = told;
    const chips = ["", ...HEALTHS].map((name) => {
      const known = [...this.chips.children].find((chip) => chip.dataset.health === name);
      const chip = known ?? h("button", { class: `chip ${name}`, "data-health": name, onclick: () => this.ask({ health: name === this.asked.get("health") ? "" : name }) });
      chip.setAttribute("aria-pressed", String((health ?? "") === name));
      chip.classList.toggle("zero", !counts[name]);
      chip.replaceChildren(...(name ? [mark(name)] : []), name || "All", h("b", {}, count(counts[name] ?? 0)));
      return chip;
    });
    if (!this.chips.childElementCount) this.chips.replaceChildren(...chips);
    clearTimeout(this.speaking);
    this.speaking = setTimeout(() => {
      document.getElementById("said").textContent = `${count(counts[health ?? ""] ?? 0)} of ${count(this.store.rows.size)} models`;
    }, 1000);
  }

  options(element, field) {
    const chosen = this.asked.get(field) ?? "";
    const names = [...new Set([...this.store.rows.values()].map((row) => row[field]).filter(Boolean).concat(chosen || []))].sort(words.compare);
    const told = names.join("\n");
    if (element.dataset.told !== told) {
      element.dataset.told = told;
      element.replaceChildren(h("option", { value: "" }, element.dataset.all), ...names.map((name) => h("option", { value: name }, name)));
    }
    if (element.value !== chosen) element.value = chosen;
  }

  // Keep the elements of rows that stay: focus and selection stay with them.
  fill(rows, changed) {
    const next = new Map();
    const focused = document.activeElement;
    rows.forEach((row, index) => {
      const key = keyOf(row);
      let known = this.shown.get(key);
      if (!known) {
        known = { row, element: h("tr", { role: "row", onclick: (event) => this.go(event, key) }, cells(row, this.asked)) };
      } else if (known.row !== row) {
        known.element.replaceChildren(...cells(row, this.asked));
        if (changed?.has(key)) flash(known.element);
        known.row = row;
      }
      next.set(key, known);
      if (this.body.children[index] !== known.element) this.body.insertBefore(known.element, this.body.children[index] ?? null);
    });
    for (const [key, { element }] of this.shown) if (!next.has(key)) element.remove();
    this.shown = next;
    if (focused?.isConnected && focused !== document.activeElement) focused.focus({ preventScroll: true });
    else if (focused?.dataset?.key && !focused.isConnected) this.body.querySelector(`[data-key="${CSS.escape(focused.dataset.key)}"]`)?.focus({ preventScroll: true });
  }

  go(event, key) {
    if (event.target.closest("a") || getSelection()?.toString()) return;
    location.hash = place.model(key, scopeOf(this.asked));
  }

  turnPages(page, pages, total) {
    const told = [page, pages, total].join();
    if (told === this.paged) return;
    this.paged = told;
    this.pager.hidden = pages < 2;
    const turn = (to, words, label) => h("button", { disabled: to < 1 || to > pages, "aria-label": label, onclick: () => {
      this.ask({ page: to === 1 ? "" : String(to) });
      window.scrollTo(0, 0);
    } }, words);
    this.pager.replaceChildren(
      turn(page - 1, "← Previous", "Previous page"),
      h("span", {}, `${count((page - 1) * PAGE + 1)}–${count(Math.min(page * PAGE, total))} of ${count(total)}`),
      turn(page + 1, "Next →", "Next page"));
  }

  tellNone(total) {
    const loading = this.store.report.state === "Loading" || this.store.scope === null;
    this.table.hidden = !total;
    this.none.hidden = Boolean(total);
    if (total) return;
    if (!this.store.rows.size) this.none.textContent = loading ? "Loading the models…" : "There are no models yet.";
    else this.none.replaceChildren("No model matches. ", h("button", { class: "plain", onclick: () => this.clear() }, "Show all"));
  }

  clear() {
    this.ask({ q: "", health: "", namespace: "", provider: "" });
    this.search.focus();
  }
}

export const scopeOf = (asked) => new URLSearchParams(asked.get("in") ? { in: asked.get("in") } : {});

function flash(element) {
  element.classList.remove("new");
  void element.offsetWidth; // so that the animation begins again
  element.classList.add("new");
}

function cells(row, asked) {
  const quiet = row.health === "Ready";
  const why = quiet ? "" : [row.reason !== row.health && row.reason !== row.phase ? row.reason : "", row.message].filter(Boolean).join(": ");
  const cell = (label, kind, ...content) => h("td", { role: "cell", class: kind, "data-label": label }, content);
  return [
    h("th", { scope: "row", role: "rowheader" },
      h("a", { href: place.model(keyOf(row), scopeOf(asked)), "data-key": keyOf(row) }, row.name),
      h("span", { class: "soft" }, row.namespace)),
    cell("State", "state",
      h("span", { class: "line" }, badge(row.health),
        row.phase !== row.health && row.phase !== "Failed" ? h("span", { class: "soft" }, spaced(row.phase)) : null,
        row.available && !quiet && row.health !== "Degraded" ? h("span", { class: "tag", title: "A revision serves traffic meanwhile" }, "serving") : null),
      why && h("span", { class: "why", title: why }, why)),
    cell("Provider", row.provider ? "figure left" : "empty", row.provider ? [row.provider, h("span", { class: "soft" }, [row.variant, row.runtime === "triton" ? "Triton" : ""].filter(Boolean).join(", "))] : "–"),
    cell("p99", row.p99 === null ? "number empty" : "number figure left", milliseconds(row.p99), against(row.p99, row.p99_limit, "most", milliseconds)),
    cell("Throughput", row.throughput === null ? "number empty" : "number figure", rate(row.throughput), against(row.throughput, row.throughput_limit, "least", rate)),
    cell("Replicas", row.replicas ? "number figure replicas" : "number empty", row.replicas || "–"),
    cell("Age", "number age", since(row.created)),
  ];
}

export const spaced = (phase) => phase.replace(/([a-z])([A-Z])/g, (_, a, b) => `${a} ${b.toLowerCase()}`);

// A figure beside what the spec demands: a bar that the demand's mark divides.
export function against(value, limit, kind, format) {
  if (limit === null || limit === undefined || value === null || value === undefined) return null;
  const good = kind === "most" ? value <= limit : value >= limit;
  const full = 1.25 * Math.max(limit, kind === "most" ? 0 : Math.min(value, 2 * limit));
  const x = (amount) => Math.min(64, Math.round((64 * amount) / full * 10) / 10);
  const words = `${kind === "most" ? "at most" : "at least"} ${format(limit)}`;
  return h("span", { class: good ? "against" : "against bad", title: `${number((100 * value) / limit)} % of what the spec demands: ${words}` },
    s("svg", { viewBox: "0 0 64 6", width: 64, height: 6, "aria-hidden": "true" },
      s("rect", { class: "track", y: 1.5, width: 64, height: 3, rx: 1.5 }),
      s("rect", { class: "value", y: 1.5, width: Math.max(2, x(value)), height: 3, rx: 1.5 }),
      s("rect", { class: "limit", x: x(limit) - 0.75, width: 1.5, height: 6 })),
    h("span", {}, `${kind === "most" ? "≤" : "≥"} ${format(limit)}`),
    good ? null : h("span", { class: "unseen" }, "not met"));
}
