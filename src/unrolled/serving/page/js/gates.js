// Gates and states as a heat map: units × timesteps, of a layer and a name that are chosen.

import { h } from "./dom.js";
import { heat } from "./plot.js";

const WIDEST = 160; // timesteps that are drawn: the last ones

export function gatesPanel(model) {
  const names = [...model.gates, ...model.states.filter((name) => !model.gates.includes(name))];
  const choose = (options, label) => h("label", {}, label, h("select", { onchange: () => panel.again() },
    ...options.map((name) => h("option", { value: name }, name))));
  const name = choose(names, "Gate or state");
  const layer = choose(Array.from({ length: model.layers }, (_, number) => String(number)), "Layer");
  const plot = h("div", { class: "plot", role: "img" });
  const note = h("p", { class: "hint", "aria-live": "polite" });
  const panel = h("div", {}, h("div", { class: "fields" }, name, layer), plot, note);
  let last = null;

  // symbols: (T,); layers: [{name: (T, H)}], the forward direction of each layer.
  panel.show = (symbols, layers) => {
    last = { symbols, layers };
    panel.again();
  };
  // Of what a stream brought, append by append.
  panel.follow = (steps, past) => {
    const read = past.filter((one) => one.steps.length);
    if (!read.length || !read.every((one) => one.gates)) return;
    const layers = read[0].gates.map((values, layer) => Object.fromEntries(Object.keys(values).map(
      (gate) => [gate, read.flatMap((one) => one.gates[layer][gate])])));
    panel.show(steps.map((one) => one.shown), layers);
  };
  panel.again = () => {
    if (!last || !last.symbols.length) return;
    const gate = name.lastChild.value;
    const values = last.layers[Number(layer.lastChild.value)][gate].slice(-WIDEST);
    const units = values[0].map((_, unit) => values.map((row) => row[unit]));
    const signed = Math.min(...values.map((row) => Math.min(...row))) < 0;
    const most = Math.max(...values.map((row) => Math.max(...row.map(Math.abs))), 1e-9);
    plot.setAttribute("aria-label", `${gate}, ${units.length} units by ${values.length} timesteps`);
    note.textContent = last.symbols.length > WIDEST ? `The last ${WIDEST} of ${last.symbols.length} timesteps.` : "";
    heat(plot, {
      values: units, columns: last.symbols.slice(-WIDEST), low: signed ? -most : 0, high: signed ? most : 1, signed,
      columnTitle: "symbol", rowTitle: "unit",
    });
  };
  return panel;
}
