// A text that is typed, through a stream whose state travels with the page: each answer's token is kept, so that going
// back a few symbols means going on from an older token. One request at a time; what was typed meanwhile goes in the next.

import { modelPath, onReturn, post } from "./api.js";

export class Live {
  // whole: whether symbols may only be cut at blanks (words, BPE). show(steps, opened) is called with all steps so far.
  constructor(model, { top = 8, whole = false, gates = () => false, label = () => undefined, show, fail }) {
    Object.assign(this, { model, top, whole, gates, label, show, fail });
    this.wanted = "";
    this.busy = false;
    this.retried = false; // whether this text was begun again once already
    this.restart();
    onReturn(() => this.type(this.wanted));
  }

  restart() {
    this.opened = null;
    this.past = []; // {text, token, steps, gates}: what each append brought
    this.begun = (this.begun || 0) + 1;
  }

  type(text) {
    this.wanted = text;
    if (!this.busy) this.work();
  }

  get text() {
    return this.past.map((one) => one.text).join("");
  }

  async work() {
    this.busy = true;
    try {
      do await this.step(); while (this.wanted !== this.text || !this.opened);
      this.fail("");
      this.retried = false;
    } catch (error) {
      const old = !this.retried && this.past.length > 0 && (error.status === 410 || error.status === 422); // of another server or model
      if (error.status) this.restart();
      this.retried = old;
      if (old) return this.work();
      this.fail(error.message);
    }
    this.busy = false;
    return undefined;
  }

  async step() {
    const begun = this.begun;
    if (!this.opened) {
      const opened = await post(modelPath(this.model.name, "streams"), { held: "client", top: this.top, label: this.label() });
      if (begun !== this.begun) return;
      this.opened = opened;
    }
    this.goBack();
    const rest = this.wanted.slice(this.text.length);
    if (rest) {
      const token = this.past.length ? this.past.at(-1).token : this.opened.token;
      const piece = this.piece(rest);
      const body = { token, append: piece, top: this.top, gates: this.gates() };
      const told = await post(modelPath(this.model.name, "streams/append"), body);
      if (begun !== this.begun) return;
      this.past.push({ text: piece, token: told.token, steps: told.steps, gates: told.gates, log: told.log_probability });
    }
    this.show(this.past.flatMap((one) => one.steps), this.opened, this.past);
  }

  // Long texts go in pieces, so that something is seen soon, and cut where symbols end.
  piece(rest) {
    if (rest.length <= 400) return rest;
    if (!this.whole) return rest.slice(0, /[\ud800-\udbff]/.test(rest[399]) ? 399 : 400); // no half of a pair
    const blank = rest.slice(0, 400).search(/\s\S*$/);
    return blank > 0 ? rest.slice(0, blank) : rest;
  }

  // Forget what is no longer there; where only whole words are symbols, also a last word that goes on.
  goBack() {
    let length = 0;
    let kept = 0;
    for (const one of this.past) {
      const end = length + one.text.length;
      if (this.wanted.slice(length, end) !== one.text) break;
      const next = this.wanted[end];
      if (this.whole && next !== undefined && !/\s/.test(next) && !/\s$/.test(one.text)) break;
      length = end;
      kept += 1;
    }
    this.past.length = kept;
  }
}
