// Translators: the best answers of the beam, how it searched for them, and where each symbol of the best one looked.

import { modelPath, post } from "./api.js";
import { card, h, settled } from "./dom.js";
import { heat } from "./plot.js";
import { treePicture } from "./tree.js";

export function translatePanel(model) {
  const field = h("textarea", { id: "source", spellcheck: false, rows: "2", oninput: () => again() });
  const beam = h("select", { onchange: () => again() }, ...["1", "2", "5", "10"].map((width) => h("option", { value: width, selected: width === "5" }, width)));
  const answers = h("div", { class: "scroll" });
  const best = h("p", { class: "verdict", role: "status" });
  const plot = h("div", { class: "plot", role: "img", "aria-label": "Attention", hidden: true });
  const search = treePicture();
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  let control = null;

  const again = settled(async () => {
    control?.abort();
    const own = (control = new AbortController());
    problem.hidden = true;
    if (!field.value.trim()) {
      best.textContent = "";
      answers.replaceChildren();
      plot.hidden = true;
      search.show(null);
      return;
    }
    const width = Number(beam.value);
    const body = { texts: [field.value], beam: width, best: Math.min(width, 5), attention: model.attention, tree: true };
    try {
      const told = await post(modelPath(model.name, "translate"), body, own.signal);
      if (own === control) show(told.answers[0]);
    } catch (error) {
      if (error.name === "AbortError") return;
      problem.textContent = error.message;
      problem.hidden = false;
    }
  }, 250);

  function show({ candidates, attention, tree }) {
    best.textContent = candidates[0].text || "(nothing)";
    answers.replaceChildren(h("table", {}, h("caption", { class: "hint" }, "What the beam search found, best first"),
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "answer"), h("th", { scope: "col", class: "number" }, "log P"), h("th", { scope: "col", class: "number" }, "score"))),
      h("tbody", {}, ...candidates.map((one) => h("tr", {}, h("td", { class: "mono" }, one.text || "(nothing)"),
        h("td", { class: "number" }, one.log_probability.toFixed(2)), h("td", { class: "number" }, one.score.toFixed(3)))))));
    search.show(tree);
    plot.hidden = !attention;
    if (attention) {
      plot.setAttribute("aria-label", `Attention: ${attention.target.length} symbols of the answer over ${attention.source.length} of the source`);
      heat(plot, { values: attention.weights, columns: attention.source, rows: attention.target, low: 0, high: 1,
        columnTitle: "source", rowTitle: "answer", height: Math.min(700, 120 + 20 * attention.target.length) });
    }
  }
  return card("Translate", "", h("label", { class: "wide", for: "source" }, "Source"), field,
    h("div", { class: "fields" }, h("label", {}, "Beam width", beam)), problem, best, answers, search, plot);
}
