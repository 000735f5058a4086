// Language models and generators: type, and see with every key what may come next and what was a surprise.

import { bars, card, h, percent, settled } from "./dom.js";
import { gatesPanel } from "./gates.js";
import { Live } from "./live.js";
import { bitsOf, colour, count, legend } from "./surprise.js";

export function classPicker(model, changed) {
  if (model.task !== "generate" || !model.labels.length) return null;
  return h("label", {}, "Class", h("select", { onchange: changed }, ...model.labels.map((name) => h("option", {}, name))));
}

export function writePanel(model) {
  const words = model.level === "word" || model.level === "bpe";
  const picker = classPicker(model, () => { live.restart(); live.type(field.value); });
  const field = h("textarea", { id: "write", spellcheck: false, oninput: () => live.type(field.value),
    placeholder: "Type here" });
  const reading = h("div", { class: `text${words ? " words" : ""}`, role: "img", "aria-label": "nothing typed yet" });
  const next = bars("What may come next");
  const numbers = h("p", { class: "hint" });
  const spoken = h("p", { class: "unseen", "aria-live": "polite" }); // after a pause, so that typing is not talked over
  const speak = settled((steps, following) => {
    const last = steps.length ? `${steps.at(-1).shown} cost ${bitsOf(steps.at(-1)).toFixed(1)} bits. ` : "";
    spoken.textContent = `${last}Next: ${following.slice(0, 3).map((one) => `${one.shown} ${percent(one.probability)}`).join(", ")}`;
  }, 800);
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const gates = gatesPanel(model);
  const drawer = h("details", { ontoggle: () => { live.restart(); live.type(field.value); } },
    h("summary", {}, "Gates and states"), gates);
  const live = new Live(model, {
    top: 8, whole: words, gates: () => drawer.open, label: () => picker?.lastChild.value,
    show: (steps, opened, past) => {
      colour(reading, steps);
      if (field.selectionEnd === field.value.length) reading.scrollTop = reading.scrollHeight;
      const following = (steps.length ? steps.at(-1).next : opened.next) || [];
      next.show(following.map((one) => [one.shown, one.probability]));
      numbers.textContent = summary(steps, past);
      speak(steps, following);
      if (drawer.open) gates.follow(steps, past);
    },
    fail: (words) => { problem.textContent = words; problem.hidden = !words; },
  });
  live.type("");
  return card("Type and watch", "What the model expects next, and how surprised it was by what you wrote.",
    picker && h("div", { class: "fields" }, picker), h("label", { class: "wide", for: "write" }, "Text"), field, problem,
    h("div", { class: "columns" }, h("div", {}, h("h3", {}, "Surprise"), reading, legend(), numbers, spoken), h("div", {}, h("h3", {}, "Next"), next)),
    drawer);
}

function summary(steps, past) {
  if (!steps.length) return "";
  const total = past.at(-1).log;
  const bits = -total / Math.LN2 / steps.length;
  return `${count(steps.length)}, log P ${total.toFixed(2)}, ${bits.toFixed(2)} bits a symbol`;
}
