// Builders of elements. Text is always text: nothing here parses markup, and the page's policy forbids it.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const h = (tag, props, ...children) => fill(document.createElement(tag), props, children);
export const s = (tag, props, ...children) => fill(document.createElementNS(SVG, tag), props, children);

// A shape for each state: colour alone does not reach everybody.
const SHAPES = {
  Ready: "M8 1.5a6.5 6.5 0 1 0 0 13a6.5 6.5 0 0 0 0-13Zm3.4 4.9-4 4.6a.8.8 0 0 1-1.2 0L4.4 9.1l1.1-1.1 1.3 1.3 3.4-4Z",
  Reconciling: "M8 1.5a6.5 6.5 0 1 0 6.5 6.5h-2A4.5 4.5 0 1 1 8 3.5Z",
  Stalled: "M5.3 1.5h5.4l3.8 3.8v5.4l-3.8 3.8H5.3l-3.8-3.8V5.3Zm-.1 4.8L6.9 8 5.2 9.7l1.1 1.1L8 9.1l1.7 1.7 1.1-1.1L9.1 8l1.7-1.7-1.1-1.1L8 6.9 6.3 5.2Z",
  Degraded: "M8 1.2 15.3 14H.7ZM7.2 5.8v4h1.6v-4Zm0 5v1.6h1.6v-1.6Z",
  Suspended: "M8 1.5a6.5 6.5 0 1 0 0 13a6.5 6.5 0 0 0 0-13ZM5.6 5.2h1.7v5.6H5.6Zm3.1 0h1.7v5.6H8.7Z",
  Waiting: "M8 1.5a6.5 6.5 0 1 0 0 13a6.5 6.5 0 0 0 0-13Zm0 1.8a4.7 4.7 0 1 1 0 9.4a4.7 4.7 0 0 1 0-9.4Z",
};
const ALIASES = { Done: "Ready", Running: "Reconciling", Failed: "Stalled" };

export function mark(state) {
  const name = ALIASES[state] ?? state;
  return s("svg", { class: `mark ${name}`, viewBox: "0 0 16 16", "aria-hidden": "true" },
    s("path", { d: SHAPES[name] ?? SHAPES.Waiting, "fill-rule": "evenodd" }));
}

export const badge = (health) => h("span", { class: `badge ${health}` }, mark(health), health);

// A table that scrolls by itself where it is wider than the screen, or whose rows are stacked on a phone. The roles are
// spelt out: style that stacks would take them away.
export function table(label, heads, rows, kind = "") {
  for (const row of rows) {
    row.setAttribute("role", "row");
    for (const cell of row.children) cell.setAttribute("role", cell.tagName === "TH" ? "rowheader" : "cell");
  }
  return h("div", { class: `wide ${kind}`, role: "region", "aria-label": label, tabindex: "0" },
    h("table", { role: "table", "aria-label": label },
      h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, heads.map(([name, style]) => h("th", { scope: "col", role: "columnheader", class: style }, name)))),
      h("tbody", { role: "rowgroup" }, rows)));
}
