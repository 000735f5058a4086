// A fresh cell in motion: one timestep at a time over a short sequence that can be edited.

import { post } from "./api.js";
import { diagram, number } from "./diagram.js";
import { card, h, settled } from "./dom.js";
import { curves } from "./plot.js";

const EXAMPLE = "1, 0, 0, 0, -1, 0, 0, 0";

export function choice(label, names, value, changed) {
  const select = h("select", { onchange: changed }, ...names.map((name) => h("option", { value: name, selected: name === value }, name)));
  return { select, label: h("label", {}, label, select) };
}

export function cellPanel(cells, initialisers) {
  const again = settled(() => run(), 200);
  const which = choice("Cell", cells.map((one) => one.name), "lstm", again);
  const hidden = choice("Hidden size", ["1", "2", "3", "4"], "2", again);
  const start = choice("Initialiser", initialisers, "torch", again);
  const seed = h("input", { type: "number", min: "0", max: "9999", value: "1", oninput: again });
  const sequence = h("input", { type: "text", class: "wide", id: "sequence", value: EXAMPLE, spellcheck: false, oninput: again });
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const place = h("div", { class: "scroll stage" });
  const formula = h("p", { class: "formula" });
  const equations = h("pre", { class: "equations", tabindex: "0", "aria-label": "The equations" });
  const back = h("button", { type: "button", onclick: () => go(t - 1) }, "Back");
  const next = h("button", { type: "button", class: "main", onclick: () => go(t + 1) }, "Step");
  const slider = h("input", { type: "range", min: "1", max: "1", value: "1", "aria-label": "Timestep", oninput: () => go(Number(slider.value) - 1) });
  const moment = h("p", { class: "moment", "aria-live": "polite" });
  const plot = h("div", { class: "plot small", role: "img", "aria-label": "The states over time" });
  let cell = null;
  let svg = null;
  let steps = [];
  let inputs = [];
  let t = 0;
  let asked = 0;

  async function run() {
    const own = ++asked;
    try {
      inputs = numbers(sequence.value);
      const body = { cell: which.select.value, hidden: Number(hidden.select.value), initialiser: start.select.value,
        seed: Number(seed.value) || 0, inputs: inputs.map((one) => [one]) };
      const told = await post("/v1/lab/steps", body);
      if (own !== asked) return;
      steps = told.steps;
      draw(body.hidden);
      problem.hidden = true;
    } catch (error) {
      if (own !== asked) return;
      problem.textContent = error.message;
      problem.hidden = false;
    }
  }

  function draw(size) {
    cell = cells.find((one) => one.name === which.select.value);
    svg = diagram(cell, size, explain);
    place.replaceChildren(svg);
    equations.textContent = cell.equations;
    slider.max = String(steps.length);
    explain(null);
    go(Math.min(t, steps.length - 1));
    plotStates(size);
  }

  function plotStates(size) {
    const made = [{ name: "x", values: inputs, dash: "dot" }];
    for (const node of cell.states.map((name) => cell.nodes.find((one) => one.state === name))) {
      for (let unit = 0; unit < size; unit += 1) {
        made.push({ name: `${node.state}${size > 1 ? ` ${unit + 1}` : ""}`, values: steps.map((step) => step[node.id][unit]) });
      }
    }
    curves(plot, made.map((one) => ({ ...one, places: one.values.map((_, number) => number + 1) })), { xTitle: "timestep", height: 240 });
  }

  function go(to) {
    if (!steps.length) return;
    t = Math.max(0, Math.min(steps.length - 1, to));
    slider.value = String(t + 1);
    back.disabled = t === 0;
    next.disabled = t === steps.length - 1;
    svg.show(steps[t]);
    const after = cell.states.map((name) => cell.nodes.find((one) => one.state === name)).map((one) => `${one.state} = ${steps[t][one.id].map(number).join(", ")}`);
    moment.textContent = `t = ${t + 1} of ${steps.length}: x = ${number(inputs[t])}; ${after.join("; ")}`;
  }

  function explain(node) {
    if (!node) formula.textContent = "Point at a box, or move to it with Tab, for its equation.";
    else if (!node.formula) formula.textContent = node.kind === "input" ? "x⟨t⟩: the input of this timestep" : `${node.name}: what the timestep before left`;
    else formula.textContent = node.name ? `${node.name} = ${node.formula}` : node.formula;
  }

  const keys = (event) => {
    const ways = { ArrowLeft: t - 1, ArrowRight: t + 1, Home: 0, End: steps.length - 1 };
    if (!(event.key in ways) || event.target === slider) return;
    event.preventDefault();
    const held = document.activeElement === back || document.activeElement === next;
    go(ways[event.key]);
    if (held && document.activeElement === document.body) (back.disabled ? next : back).focus();
  };
  const stage = h("div", { onkeydown: keys }, h("div", { class: "fields steps" }, back, next, slider), moment, place, formula);
  const shown = card("A cell, step by step", "The step as it was traced from its equations. Change the sequence, and go through it; ← and → step too.",
    h("div", { class: "fields" }, which.label, hidden.label, start.label, h("label", {}, "Seed", seed)),
    h("label", { class: "wide", for: "sequence" }, "Inputs x⟨1⟩, x⟨2⟩, …"), sequence, problem, stage, equations,
    h("h3", {}, "The states over time"), plot);
  run();
  return shown;
}

function numbers(text) {
  const found = text.split(/[,;\s]+/).filter(Boolean).map(Number);
  if (!found.length || found.some((one) => !Number.isFinite(one))) throw new Error("Inputs are numbers with commas between them, as in 1, 0, -1");
  if (found.length > 200) throw new Error(`That are ${found.length} inputs: at most 200 are read`);
  return found;
}
