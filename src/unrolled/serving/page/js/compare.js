// Which of two texts does the model find more probable?

import { modelPath, post } from "./api.js";
import { card, h, settled } from "./dom.js";
import { bitsOf, legend, marked } from "./surprise.js";

export function comparePanel(model) {
  const first = h("input", { type: "text", oninput: () => again(), value: "" });
  const second = h("input", { type: "text", oninput: () => again(), value: "" });
  const verdict = h("p", { class: "verdict", role: "status" });
  const table = h("div", { class: "scroll" });
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const again = settled(compare, 250);
  const words = model.level === "word" || model.level === "bpe";
  let asked = 0;

  async function compare() {
    const texts = [first.value, second.value];
    const number = ++asked;
    verdict.textContent = "";
    table.replaceChildren();
    problem.hidden = true;
    if (!texts[0] || !texts[1]) return;
    try {
      const { answers } = await post(modelPath(model.name, "score"), { inputs: texts });
      if (number === asked) show(texts, answers);
    } catch (error) {
      problem.textContent = error.message;
      problem.hidden = false;
    }
  }

  function show(texts, answers) {
    const difference = answers[0].log_probability - answers[1].log_probability;
    const factor = Math.exp(Math.abs(difference));
    const times = factor < 1e6 ? factor.toPrecision(3).replace(/\.0+$/, "") : factor.toExponential(1);
    verdict.textContent = factor < 1.0005 ? "Both are equally probable." : `The ${difference > 0 ? "first" : "second"} is ${times} times as probable.`;
    table.replaceChildren(h("table", {}, h("thead", {}, h("tr", {}, ...["text", "log P", "perplexity", "most surprising"].map(
      (name, place) => h("th", { class: ["", "number", "number roomy", ""][place], scope: "col" }, name)))),
    h("tbody", {}, ...answers.map((answer, place) => h("tr", {}, h("td", { class: `mono text-cell${words ? " words" : ""}`, "aria-label": texts[place] }, ...answer.symbols.map(marked)),
      h("td", { class: "number" }, answer.log_probability.toFixed(2)),
      h("td", { class: "number roomy" }, (answer.perplexity ?? null) === null ? "∞" : answer.perplexity.toFixed(2)),
      h("td", { class: "mono" }, worst(answer.symbols)))))), legend());
  }
  return card("Compare", "Two spellings, two word orders: which one would the model rather write?",
    h("div", { class: "columns" }, h("label", { class: "wide" }, "First text", first), h("label", { class: "wide" }, "Second text", second)),
    problem, verdict, table);
}

function worst(symbols) {
  const least = symbols.reduce((most, one) => (one.log_probability < most.log_probability ? one : most));
  return `${least.shown} (${bitsOf(least).toFixed(1)} bits)`;
}
