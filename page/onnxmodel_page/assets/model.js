// One model: everything that its status says, and its events. Fetched again whenever its row changes.

import { ask } from "./ask.js";
import { h } from "./dom.js";
import { scopeOf } from "./list.js";
import * as place from "./place.js";
import * as sections from "./sections.js";

const EVENTS_MILLISECONDS = 20000;

export class Model {
  constructor(store, main, { asked, key }) {
    this.store = store;
    this.key = key;
    this.asked = asked;
    this.told = new Map();
    this.back = h("a", { class: "back", href: place.last() ?? place.list(scopeOf(asked)) }, "← All models");
    this.sections = h("div", { class: "sections" });
    this.note = h("p", { class: "none" }, "Loading the model…");
    main.replaceChildren(this.back, this.note, this.sections);
    document.title = `${key.split("/")[1]} · OnnxModels`;
    this.timer = setInterval(() => this.wanted(), EVENTS_MILLISECONDS); // events come without a change of the model
  }

  close() {
    this.closed = true;
    clearInterval(this.timer);
  }

  moved(asked) {
    this.asked = asked;
  }

  update(changed) {
    if (changed === null || changed.has(this.key)) this.wanted();
  }

  // One request at a time; what changes meanwhile is asked for after it.
  async wanted() {
    if (this.closed || document.hidden) return;
    if (this.asking) {
      this.again = true;
      return;
    }
    this.asking = true;
    try {
      await this.load();
    } finally {
      this.asking = false;
      if (this.again) {
        this.again = false;
        this.wanted();
      }
    }
  }

  async load() {
    let answer;
    try {
      answer = await ask(`api/models/${this.key.split("/").map(encodeURIComponent).join("/")}`);
    } catch {
      return this.say("The page's server does not answer. What is shown may be old.");
    }
    if (this.closed) return;
    const { status, data } = answer;
    if (status === 404) {
      this.sections.replaceChildren();
      this.told.clear();
      return this.say(`There is no model ${this.key} any more.`);
    }
    if (status !== 200) return this.say(data.message);
    this.note.hidden = true;
    this.show(data.model, data.events_problem);
  }

  say(words) {
    this.note.hidden = false;
    this.note.textContent = words;
  }

  // A section is made anew only if what it shows has changed: scrolling and focus stay elsewhere.
  show(model, problem) {
    const { row, status } = model;
    const parts = [
      ["head", [row, model.source, model.generation, model.observed], () => sections.head(model)],
      ["failure", [status.lastFailure, row.health], () => sections.failure(status.lastFailure, row)],
      ["pipeline", model.pipeline, () => sections.pipeline(model.pipeline)],
      ["rollout", [status.rollout, status.traffic, status.upgrade], () => sections.rollout(status)],
      ["figures", [model.figures, model.limits, row.unit, row.replicas], () => sections.figures(model)],
      ["plots", [status.variants, model.limits, row.unit, status.benchmark?.reason], () => sections.plots(model)],
      ["variants", status.variants, () => sections.variants(status.variants)],
      ["findings", status.findings, () => sections.findings(status.findings)],
      ["revisions", model.revisions, () => sections.revisions(model.revisions)],
      ["conditions", status.conditions, () => sections.conditions(status.conditions)],
      ["events", [model.events, problem], () => sections.events(model.events, problem)],
      ["about", [status.model, status.serving, status.autoscaling, status.benchmark], () => sections.about(model)],
    ];
    for (const [name, data, make] of parts) {
      const text = JSON.stringify(data) ?? "";
      if (this.told.get(name) === text) continue;
      this.told.set(name, text);
      const made = make() || h("div", { hidden: true });
      made.dataset.part = name;
      const old = [...this.sections.children].find((element) => element.dataset.part === name);
      const open = old && new Set([...old.querySelectorAll("details[open] > summary")].map((element) => element.textContent));
      if (old) old.replaceWith(made);
      else this.sections.append(made);
      for (const summary of made.querySelectorAll("details > summary")) if (open?.has(summary.textContent)) summary.parentElement.open = true;
    }
  }
}
