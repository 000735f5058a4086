// How far back a gradient reaches: curves of fresh cells, kept to be compared.

import { post } from "./api.js";
import { choice } from "./cell.js";
import { card, h, settled } from "./dom.js";
import { curves } from "./plot.js";

const MOST = 6; // curves kept beside the present one

export function reachPanel(cells, initialisers) {
  const changed = () => { said(); again(); };
  const again = settled(() => run(), 120);
  const which = choice("Cell", cells.map((one) => one.name), "lstm", () => { biased(); changed(); });
  const start = choice("Initialiser", initialisers, "torch", changed);
  const slider = (least, most, value) => h("input", { type: "range", min: String(least), max: String(most), value: String(value), oninput: changed });
  const length = slider(2, 200, 60);
  const hidden = slider(1, 64, 32);
  const bias = h("input", { type: "number", step: "0.5", min: "-10", max: "10", placeholder: "as drawn", oninput: changed });
  const chrono = h("input", { type: "number", step: "1", min: "3", max: "10000", placeholder: "as drawn", title: "Units begin with memories of 1 to so many timesteps", oninput: () => { biased(); changed(); } });
  const [lengthSaid, hiddenSaid] = [h("output"), h("output")];
  const plot = h("div", { class: "plot", role: "img", "aria-label": "Gradient against distance" });
  const verdict = h("p", { class: "verdict", role: "status" });
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const keep = h("button", { type: "button", class: "main", onclick: () => hold() }, "Keep this curve");
  const clear = h("button", { type: "button", onclick: () => { kept = []; show(); } }, "Forget the others");
  let kept = [];
  let present = [];
  let asked = 0;

  function said() {
    lengthSaid.textContent = length.value;
    hiddenSaid.textContent = hidden.value;
  }

  function biased() {
    const cell = cells.find((one) => one.name === which.select.value);
    chrono.disabled = !cell.keeps;
    bias.disabled = !cell.forget || remembered() > 0; // chrono says how the forget gate begins
  }

  function remembered() {
    return chrono.disabled || chrono.value === "" ? 0 : Number(chrono.value);
  }

  async function run() {
    const own = ++asked;
    const forget = bias.disabled || bias.value === "" ? null : Number(bias.value);
    const body = { cell: which.select.value, initialiser: start.select.value, length: Number(length.value), hidden: Number(hidden.value), forget_bias: forget, chrono: remembered(), seed: 1 };
    try {
      const { curves: found } = await post("/v1/lab/gradients", body);
      if (own !== asked) return;
      const more = (forget === null ? "" : `, forget bias ${forget}`) + (body.chrono ? `, chrono ${body.chrono}` : "");
      present = Object.entries(found).map(([state, values]) => ({
        name: `${body.cell}: ${state} (${body.hidden}, ${body.initialiser}${more})`, state, values, places: values.map((_, distance) => distance),
      }));
      problem.hidden = true;
      show();
    } catch (error) {
      if (own !== asked) return;
      problem.textContent = error.message;
      problem.hidden = false;
    }
  }

  function hold() {
    kept = [...kept.filter((one) => !present.some((other) => other.name === one.name)), ...present].slice(-MOST);
    show();
  }

  function show() {
    clear.disabled = !kept.length;
    const others = kept.filter((one) => !present.some((other) => other.name === one.name));
    const made = [...present.map((one) => ({ ...one, width: 3 })), ...others.map((one) => ({ ...one, dash: "dash" }))];
    curves(plot, made, { xTitle: "distance t − s, in timesteps", yTitle: "‖∂L⟨t⟩/∂a⟨s⟩‖", logarithmic: true, height: 380 });
    verdict.textContent = present.map(judged).join(" ");
    plot.setAttribute("aria-label", `Gradient against distance. ${verdict.textContent}`);
  }

  const shown = card("Gradient against distance", "How strongly the loss of the last timestep depends on the states before it, when nothing has been learned yet. Straight downwards: the gradient vanishes; upwards: it explodes.",
    h("div", { class: "fields" }, which.label, start.label, h("label", {}, "Forget bias", bias), h("label", {}, "Chrono", chrono),
      h("label", {}, h("span", {}, "Length ", lengthSaid), length), h("label", {}, h("span", {}, "Hidden size ", hiddenSaid), hidden)),
    problem, verdict, plot, h("div", { class: "fields" }, keep, clear));
  said();
  biased();
  clear.disabled = true;
  run();
  return shown;
}

// From the slope between a tenth and the whole of the distance.
function judged({ state, values }) {
  const from = Math.floor(values.length / 10);
  const [near, far] = [values[from], values.at(-1)];
  if (near === null || far === null) return `${state}: it overflows.`;
  if (!(near > 0)) return `${state}: no gradient arrives.`;
  if (!(far > 0)) return `${state}: it underflows to 0.`;
  const factor = (far / near) ** (1 / Math.max(1, values.length - 1 - from));
  return `${state}: times ${factor.toFixed(3)} each timestep.`;
}
