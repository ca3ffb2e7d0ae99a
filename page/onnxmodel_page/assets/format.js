// Numbers and times for people.

const LANGUAGE = "en";
const plain = new Intl.NumberFormat(LANGUAGE, { maximumSignificantDigits: 3 });
const whole = new Intl.NumberFormat(LANGUAGE);
const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

export const count = (value) => whole.format(value);
export const number = (value) => plain.format(value);

export function milliseconds(value) {
  if (value === null || value === undefined) return "–";
  return value >= 999.5 ? `${number(value / 1000)} s` : `${number(value)} ms`;
}

export const rate = (value) => (value === null || value === undefined ? "–" : `${number(value)}/s`);

export function bytes(value) {
  if (value === null || value === undefined) return "–";
  for (const [unit, name] of [[2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]]) {
    if (value >= unit) return `${number(value / unit)} ${name}`;
  }
  return `${value} B`;
}

export const percent = (value) => (value === null || value === undefined ? "–" : `${number(value)} %`);

export function duration(seconds) {
  if (seconds < 1) return `${Math.round(1000 * seconds)} ms`;
  if (seconds < 10) return `${number(seconds)} s`;
  return span(seconds);
}

function span(seconds) {
  const steps = [[86400, "d", 3600, "h"], [3600, "h", 60, "min"], [60, "min", 1, "s"]];
  for (const [unit, name, smaller, rest] of steps) {
    if (seconds >= unit) {
      const left = Math.floor((seconds % unit) / smaller);
      const big = Math.floor(seconds / unit);
      return left && big < 10 ? `${big} ${name} ${left} ${rest}` : `${big} ${name}`;
    }
  }
  return `${Math.max(0, Math.floor(seconds))} s`;
}

export function age(time) {
  const seconds = (Date.now() - Date.parse(time)) / 1000;
  return Number.isNaN(seconds) ? "–" : span(seconds).split(" ").slice(0, 2).join(" ");
}

export const date = (time) => (time ? moment.format(new Date(time)) : "");

// Ages that count up by themselves.
export function since(time, after = "") {
  const element = document.createElement("time");
  if (!time) return "–";
  element.dateTime = time;
  element.title = date(time);
  element.dataset.after = after;
  element.textContent = age(time) + after;
  return element;
}

setInterval(() => {
  for (const element of document.querySelectorAll("time[data-after]")) {
    const text = age(element.dateTime) + element.dataset.after;
    if (element.textContent !== text) element.textContent = text;
  }
}, 10000);
