// The benchmark of the variants as pictures. Pure: from figures to SVG.

import { s } from "./dom.js";
import { milliseconds, number, rate } from "./format.js";

const WIDTH = 460;
const NAMES = 112;
const LABELS = WIDTH - 84;
const ROW = 30;
const TOP = 22;

function scale(low, high) {
  const logarithmic = low > 0 && high / low > 12;
  const share = (value) => (logarithmic ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low || 1));
  return { logarithmic, low, high, at: (value) => Math.round(10 * (NAMES + share(value) * (LABELS - NAMES))) / 10 };
}

function ticks({ logarithmic, low, high }) {
  if (logarithmic) {
    const found = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
      for (const factor of high / low > 1000 ? [1] : [1, 3]) found.push(factor * 10 ** power);
    }
    return found.filter((value) => value >= low && value <= high);
  }
  const rough = (high - low) / 4 || 1;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = unit * [1, 2, 5, 10].find((factor) => factor * unit >= rough);
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step / 1e6; value += step) found.push(value);
  return found;
}

const cut = (name) => (name.length > 15 ? `${name.slice(0, 14)}…` : name);
const text = (x, y, words, kind) => s("text", { x, y, class: kind }, words);

function frame(title, rows, axis, limit, unit, draw) {
  const bottom = TOP + ROW * rows.length;
  return s("svg", { class: "plot", viewBox: `0 0 ${WIDTH} ${bottom + 38}`, role: "img", "aria-label": `${title}. ${rows.map((row) => row.words).join(". ")}.` },
    ticks(axis).map((value) => [
      s("path", { class: "grid", d: `M${axis.at(value)} ${TOP}V${bottom}` }),
      text(axis.at(value), bottom + 15, number(value), "middle"),
    ]),
    text((NAMES + LABELS) / 2, bottom + 32, unit, "middle"),
    rows.map((row, index) => {
      const y = TOP + ROW * index + ROW / 2;
      return s("g", { class: row.selected ? "chosen" : "other" },
        s("title", {}, row.words),
        text(NAMES - 10, y + 4, cut(row.name), "end"),
        draw(row, y),
        text(LABELS + 8, y + 4, row.label, "label"));
    }),
    limit && [
      s("path", { class: "limit", d: `M${axis.at(limit.value)} ${TOP - 4}V${bottom}` }),
      text(axis.at(limit.value), TOP - 9, limit.words, axis.at(limit.value) > LABELS - 60 ? "limit end" : "limit middle"),
    ]);
}

const DIAMOND = "M0-5 5 0 0 5-5 0Z";

export function latencies(variants, limit) {
  const rows = variants.filter((one) => one.measured).map(({ name, selected, measured: m }) => ({
    name, selected, m, label: milliseconds(m.p99Milliseconds),
    words: `${name}: p50 ${milliseconds(m.p50Milliseconds)}, p95 ${milliseconds(m.p95Milliseconds)}, p99 ${milliseconds(m.p99Milliseconds)}${m.noisy ? ", noisy" : ""}`,
  })).sort((a, b) => a.m.p50Milliseconds - b.m.p50Milliseconds);
  if (!rows.length) return null;
  const values = rows.flatMap(({ m }) => [m.p50Milliseconds, m.p99Milliseconds]).concat(limit ?? []);
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const axis = most / least > 12 && least > 0 ? scale(least / 1.3, most * 1.2) : scale(0, most * 1.06 || 1);
  return frame("Latency of each variant", rows, axis, limit && { value: limit, words: `at most ${milliseconds(limit)}` }, "milliseconds: p50 • p95 | p99 ◆", ({ m }, y) => [
    s("path", { class: "range", d: `M${axis.at(m.p50Milliseconds)} ${y}H${axis.at(m.p99Milliseconds)}` }),
    s("path", { class: "tick", d: `M${axis.at(m.p95Milliseconds)} ${y - 6}v12` }),
    s("circle", { class: m.noisy ? "dot noisy" : "dot", cx: axis.at(m.p50Milliseconds), cy: y, r: 5 }),
    s("path", { class: m.noisy ? "dot noisy" : "dot", d: DIAMOND, transform: `translate(${axis.at(m.p99Milliseconds)} ${y})` }),
  ]);
}

export function throughputs(variants, limit, unit) {
  const rows = variants.filter((one) => one.measured).map(({ name, selected, measured: m }) => ({
    name, selected, m, label: rate(m.throughputPerSecond),
    words: `${name}: ${rate(m.throughputPerSecond)} at batch size ${m.batchSize}, concurrency ${m.concurrency}${m.noisy ? ", noisy" : ""}`,
  })).sort((a, b) => b.m.throughputPerSecond - a.m.throughputPerSecond);
  if (!rows.length) return null;
  const axis = scale(0, 1.06 * Math.max(...rows.map(({ m }) => m.throughputPerSecond), limit ?? 0) || 1);
  return frame("Throughput of each variant", rows, axis, limit && { value: limit, words: `at least ${rate(limit)}` }, `${unit} per second`, ({ m }, y) =>
    s("rect", { class: m.noisy ? "bar noisy" : "bar", x: NAMES, y: y - 8, width: Math.max(1, axis.at(m.throughputPerSecond) - NAMES), height: 16, rx: 3 }));
}
