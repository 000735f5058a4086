// Symbols coloured by how much they surprised the model, and underlined where by most: colour is not the only sign.

import { h } from "./dom.js";

const LIMITS = [1, 2, 4, 8]; // bits
const NAMES = ["under 1", "1–2", "2–4", "4–8", "8 and more"];

export function bitsOf(step) {
  return -step.log_probability / Math.LN2;
}

export function marked(step) {
  const bits = bitsOf(step);
  const grade = LIMITS.filter((limit) => bits >= limit).length;
  const unsure = step.entropy === undefined || step.entropy === null ? "" : `; before it the model was unsure by ${step.entropy.toFixed(2)} bits`;
  const symbol = step.symbol === "\n" ? "↵\n" : step.symbol || step.shown;
  return h("span", { class: `s${grade}`, title: `${step.shown}: ${bits.toFixed(2)} bits${unsure}` }, symbol);
}

// Only what changed is made anew: texts may be long.
export function colour(reading, steps) {
  let old = reading.firstChild;
  for (const step of steps) {
    const mark = `${step.symbol}|${step.log_probability}`;
    if (old?.dataset.mark !== mark) {
      const span = marked(step);
      span.dataset.mark = mark;
      if (old) old.replaceWith(span);
      else reading.append(span);
      old = span;
    }
    old = old.nextSibling;
  }
  while (reading.children.length > steps.length) reading.lastChild.remove();
  const most = steps.reduce((found, step) => (step.log_probability < (found?.log_probability ?? 0) ? step : found), null);
  reading.setAttribute("aria-label", most ? `${count(steps.length)}; the most surprising is ${most.shown}, ${bitsOf(most).toFixed(1)} bits` : "nothing typed yet");
}

export function count(symbols) {
  return symbols === 1 ? "1 symbol" : `${symbols.toLocaleString()} symbols`;
}

export function legend() {
  return h("p", { class: "legend" }, "surprise in bits:", ...NAMES.map((words, grade) => h("span", { class: `s${grade}` }, words)));
}
