// All rows that this user may see: fetched once, then kept up to date by the differences that the page's server sends.

import { ask } from "./ask.js";

const HIDDEN_MILLISECONDS = 5000;
const PAUSES = [1000, 2000, 5000, 10000];

export class Store {
  constructor(changed) {
    this.rows = new Map();
    this.report = { state: "Loading", message: "" };
    this.problem = null;
    this.connected = false;
    this.scope = null;
    this.changed = changed;
    this.failures = 0;
    document.addEventListener("visibilitychange", () => this.seen());
    addEventListener("pagehide", () => this.close()); // the browser may keep the page, and its connection, to go back to
    addEventListener("pageshow", (event) => event.persisted && this.seen());
  }

  // Show another namespace; "" is all of them.
  async open(scope) {
    if (scope === this.scope) return;
    this.scope = scope;
    this.rows.clear();
    await this.load();
  }

  async load() {
    this.close();
    clearTimeout(this.again);
    const scope = this.scope;
    let answer;
    try {
      answer = await ask(`api/models?namespace=${encodeURIComponent(scope)}`);
    } catch {
      return scope === this.scope && this.retry("the page's server does not answer");
    }
    const { status, data } = answer;
    if (scope !== this.scope) return;
    if (status !== 200) {
      const refused = [400, 401, 403, 421].includes(status);
      this.problem = refused ? { status, message: data.message } : null;
      if (refused) {
        this.rows.clear();
        return this.changed(null);
      }
      return this.retry(data.message);
    }
    this.failures = 0;
    this.problem = null;
    this.at = data.at;
    this.report = data.report;
    this.rows = new Map(data.rows.map((row) => [`${row.namespace}/${row.name}`, row]));
    this.changed(null);
    this.follow();
  }

  follow() {
    this.close();
    if (document.hidden) return;
    const query = `namespace=${encodeURIComponent(this.scope)}&since=${encodeURIComponent(this.at)}`;
    const source = new EventSource(`api/changes?${query}`);
    this.source = source;
    source.onopen = () => this.tell(() => { this.connected = true; });
    source.onerror = () => {
      this.tell(() => { this.connected = false; });
      if (source.readyState === EventSource.CLOSED && source === this.source) this.retry("the connection was lost");
    };
    source.addEventListener("rows", (event) => {
      this.at = event.lastEventId;
      const { rows, gone } = JSON.parse(event.data);
      for (const row of rows) this.rows.set(`${row.namespace}/${row.name}`, row);
      for (const key of gone) this.rows.delete(key);
      this.changed(new Set([...rows.map((row) => `${row.namespace}/${row.name}`), ...gone]));
    });
    source.addEventListener("report", (event) => {
      const report = JSON.parse(event.data);
      if (report.state === "Ended") return this.load();
      this.tell(() => { this.report = report; });
    });
    source.addEventListener("reset", () => this.load());
  }

  close() {
    this.source?.close();
    this.source = null;
    this.connected = false;
  }

  retry(message) {
    this.close();
    this.report = { state: "Late", message };
    const pause = PAUSES[Math.min(this.failures++, PAUSES.length - 1)];
    clearTimeout(this.again);
    this.again = setTimeout(() => this.load(), pause);
    this.changed(new Set());
  }

  tell(change) {
    change();
    this.changed(new Set());
  }

  // A tab that nobody looks at holds no connection: browsers have six for each server.
  seen() {
    clearTimeout(this.leaving);
    if (document.hidden) this.leaving = setTimeout(() => this.close(), HIDDEN_MILLISECONDS);
    else if (!this.source && this.at) this.follow();
  }
}
