// @ts-check
// What was said and is not stored yet. Each act stands in localStorage under an id made here, so that sending it twice stores it once;
// it is sent in order, again and again, also after a reload, until the server has answered.

/** @typedef {{id: string, at: number, path: string, target: string, topic: string, base: number, tried: boolean, body: Record<string, any>}} Act */
/** @typedef {"saved" | "saving" | "retrying" | "out"} Word */
/** @typedef {{word: (word: Word, waiting: number) => void, stored: (act: Act, answer: any) => void,
 *   refused: (act: Act, answer: any, dropped: number) => void, wrong: (act: Act, why: string) => void}} Told */

import { post, uuid } from "./sending.js";

const LONGEST_WAIT = 15_000;

export class Queue {
  /** @param {string} owner whose acts these are, and of which study @param {Told} told */
  constructor(owner, told) {
    this.prefix = `fairmark:act:${owner}:`;
    this.told = told;
    /** @type {Act[]} */ this.acts = this.#kept();
    /** @type {Map<string, number>} */ this.versions = new Map(); // acts on an assignment that the server has told of
    this.sending = false;
    this.held = 0; // until when a text that is being written waits, in ms
    this.wait = 0;
    this.timer = 0;
    addEventListener("online", () => this.go());
    addEventListener("storage", (event) => {
      if (event.key?.startsWith(this.prefix) && event.newValue === null) this.acts = this.acts.filter((act) => this.#name(act) !== event.key || act.tried);
    });
  }

  /** @returns {Act[]} */
  #kept() {
    const found = [];
    for (let place = 0; place < localStorage.length; place++) {
      const name = localStorage.key(place);
      if (!name?.startsWith(this.prefix)) continue;
      try {
        found.push({ ...JSON.parse(localStorage.getItem(name) ?? ""), tried: true });
      } catch {
        localStorage.removeItem(name);
      }
    }
    return found.sort((a, b) => a.at - b.at);
  }

  /** @param {Act} act */
  #name(act) {
    return this.prefix + act.id;
  }

  /** @param {Act} act */
  #keep(act) {
    try {
      localStorage.setItem(this.#name(act), JSON.stringify(act));
    } catch {
      // full or forbidden: it is kept here as long as the page stands
    }
  }

  /** The acts on an assignment that wait. @param {string} target */
  waiting(target) {
    return this.acts.filter((act) => act.target === target);
  }

  /** Notes what the server holds. @param {string} target @param {number} version */
  know(target, version) {
    this.versions.set(target, version);
  }

  /** Adds an act. One that says the same thing anew takes the place of the last one, if that was not tried yet.
   * @param {string} path @param {string} target @param {string} topic @param {Record<string, any>} body @param {number} [hold] ms */
  put(path, target, topic, body, hold = 0) {
    const last = this.acts.at(-1);
    this.held = hold ? Date.now() + hold : 0;
    if (last && !last.tried && last.target === target && last.topic === topic) {
      last.body = body;
      this.#keep(last);
    } else {
      const base = (this.versions.get(target) ?? 0) + this.waiting(target).length;
      const act = { id: uuid(), at: Math.max(Date.now(), (last?.at ?? 0) + 1), path, target, topic, base, tried: false, body };
      this.acts.push(act);
      this.#keep(act);
    }
    this.go();
  }

  /** Sends what waits. */
  go() {
    clearTimeout(this.timer);
    this.wait = 0;
    void this.#send();
  }

  /** Lets a text that is being written go at once. */
  release() {
    if (this.held) {
      this.held = 0;
      this.go();
    }
  }

  /** Whether all is stored, within a time. @param {number} most ms */
  async settled(most) {
    this.release();
    const until = Date.now() + most;
    while (this.acts.length && Date.now() < until) await new Promise((on) => setTimeout(on, 15));
    return this.acts.length === 0;
  }

  /** @param {Act} act */
  #drop(act) {
    this.acts = this.acts.filter((other) => other !== act);
    localStorage.removeItem(this.#name(act));
  }

  async #send() {
    if (this.sending) return;
    this.sending = true;
    try {
      while (this.acts.length) {
        const act = this.acts[0];
        const rest = this.held - Date.now();
        if (this.acts.length === 1 && rest > 0 && !act.tried) {
          this.told.word("saving", 1);
          this.timer = setTimeout(() => this.#send(), rest);
          return;
        }
        this.told.word(this.wait ? "retrying" : "saving", this.acts.length);
        act.tried = true;
        if (!(await this.#one(act))) return;
      }
      this.told.word("saved", 0);
    } finally {
      this.sending = false;
    }
  }

  /** Whether the next one may follow. @param {Act} act */
  async #one(act) {
    let answer;
    let said;
    try {
      answer = await post(act.path, { ...act.body, act: act.id, base: act.base });
      said = await answer.json().catch(() => null);
    } catch {
      return this.#later("retrying");
    }
    if (answer.status === 401 || answer.status === 403) return this.#later("out");
    if (answer.status >= 500 || answer.status === 429 || answer.status === 408) return this.#later("retrying");
    this.wait = 0;
    if (answer.ok && said) {
      this.#drop(act);
      this.know(said.assignment, said.pane.version);
      this.told.stored(act, said);
    } else if (answer.status === 409 && said?.present) {
      // whatever follows was said of the same outdated state
      const after = this.waiting(act.target);
      after.forEach((one) => this.#drop(one));
      this.told.refused(act, said, after.length);
    } else {
      this.#drop(act);
      this.told.wrong(act, said?.error ? [said.error.found, said.error.allowed].filter(Boolean).join(": ") : "the server refused it");
    }
    return true;
  }

  /** @param {Word} word */
  #later(word) {
    this.wait = Math.min(LONGEST_WAIT, this.wait ? this.wait * 2 : 1000);
    this.timer = setTimeout(() => this.#send(), this.wait);
    this.told.word(word, this.acts.length);
    return false;
  }
}
