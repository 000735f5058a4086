// Taggers and classifiers: type, and watch the labels. What can be streamed changes with every key; when nothing was typed
// for a moment the whole is asked about, which is what `predict` says.

import { modelPath, post } from "./api.js";
import { bars, card, h, percent, settled } from "./dom.js";
import { gatesPanel } from "./gates.js";
import { Live } from "./live.js";
import { curves } from "./plot.js";

const KIND = /^[BIESLU]-/; // how the label of a timestep in a span begins
const CURVES = 4; // classes that are drawn on the way

export function tagPanel(model) {
  const tags = h("div", { class: "tags", role: "list", "aria-label": "Tokens and their labels" });
  const said = h("p", { class: "hint", role: "status" });
  const types = [...new Set(model.labels.filter((label) => KIND.test(label)).map((label) => label.replace(KIND, "")))];
  const draw = (tokens) => tags.replaceChildren(...tokens.map(({ token, label, share }) => h("span", {
    class: `tag${KIND.test(label) ? ` span t${types.indexOf(label.replace(KIND, "")) % 6}` : ""}`, role: "listitem", title: percent(share),
  }, token, h("small", {}, label))));
  return labelPanel(model, {
    title: "Type and watch the tags", hint: hintOf(model),
    soFar: (steps, known) => known || draw(steps.map((step) => ({ token: step.shown, label: step.label, share: step.probabilities[step.label] }))),
    show: (answer) => {
      const tokens = answer.tokens || answer.labels.map((_, place) => String(place + 1));
      draw(tokens.map((token, place) => ({ token, label: answer.labels[place], share: answer.label_probabilities[place] })));
      said.textContent = (answer.spans || []).map((span) => `${span.text}: ${span.type} (${percent(span.probability)})`).join("; ");
    },
    clear: () => { tags.replaceChildren(); said.textContent = ""; },
    parts: [tags, said],
  });
}

function hintOf(model) {
  if (!model.streams || model.frame) return "";
  const waits = model.latency ? `, at most ${model.latency} timesteps after it` : "";
  return `While you type, each token gets its label as soon as the model can say it${waits}; after a pause, all of them are labelled at once.`;
}

export function classifyPanel(model) {
  const shares = bars("Classes and their probabilities");
  const said = h("p", { class: "verdict", role: "status" });
  const along = h("p", { class: "hint", "aria-live": "polite" });
  const plot = h("div", { class: "plot small", role: "img", hidden: true });
  const clear = () => { shares.show([]); said.textContent = ""; along.textContent = ""; plot.hidden = true; };
  const show = (answer) => {
    const probabilities = Object.entries(answer.probabilities || {});
    probabilities.sort(([, one], [, other]) => other - one); // names that are numbers would come in their own order
    shares.show(probabilities.slice(0, 12));
    if (answer.value === null || answer.value === undefined) said.textContent = `${answer.label}, ${percent(answer.probabilities[answer.label])}`;
    else said.textContent = answer.label ? `${answer.label} (${answer.value.toFixed(3)})` : answer.value.toFixed(3);
  };
  return labelPanel(model, {
    title: "Type and watch the class", hint: "", show, clear,
    soFar: (steps) => {
      if (!steps.length) {
        clear();
        return;
      }
      if (!model.latency) show(steps.at(-1));
      along.textContent = onTheWay(steps);
      plot.hidden = steps.length < 2;
      if (!plot.hidden) drawWay(plot, steps);
    },
    parts: [said, shares, along, plot],
  });
}

function drawWay(plot, steps) {
  const columns = steps.map((step) => step.shown);
  const places = columns.map((_, place) => place);
  const last = steps.at(-1);
  const names = Object.keys(last.probabilities || {}).sort((one, other) => last.probabilities[other] - last.probabilities[one]).slice(0, CURVES);
  const made = names.map((name) => ({ name, places, values: steps.map((step) => step.probabilities[name]) }));
  if (!names.length) made.push({ name: "value", places, values: steps.map((step) => step.value) });
  plot.setAttribute("aria-label", `What it thought on the way, over ${columns.length} timesteps`);
  curves(plot, made, { xTitle: "read so far", yTitle: names.length ? "probability" : "", height: 260, columns, range: names.length ? [0, 1.02] : undefined });
}

function onTheWay(steps) {
  const changes = steps.filter((step, place) => step.label && (place === 0 || steps[place - 1].label !== step.label));
  if (!changes.length) return "";
  return `On the way: ${changes.map((step) => `${step.label} from ${step.shown} on`).join(", ")}`;
}

// soFar(steps, known) is told with every key what a stream says, and whether the whole of that text is shown already;
// show(answer) is told after a pause what the whole is.
function labelPanel(model, { title, hint, soFar, show, clear, parts }) {
  const frames = model.frame || 0;
  const streamed = model.streams && !frames;
  const example = frames ? Array.from({ length: 5 }, () => Array(frames).fill(0).join(", ")).join("\n") : "";
  const field = h("textarea", { id: "label", spellcheck: false, rows: frames ? "6" : "3", wrap: frames ? "off" : "soft", oninput: () => changed() }, example);
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const fail = (words) => { problem.textContent = words; problem.hidden = !words; };
  const gates = model.gates.length ? gatesPanel(model) : null;
  const followed = streamed && !model.latency; // whether the gates come with the stream
  const drawer = gates && h("details", { ontoggle: () => {
    if (followed) live.restart();
    changed();
  } }, h("summary", {}, "Gates and states"), gates);
  const live = streamed ? new Live(model, {
    whole: model.task === "tag" || model.level !== "character", gates: () => followed && Boolean(drawer?.open), fail,
    show: (steps, opened, past) => {
      soFar(steps, whole === live.text);
      if (drawer?.open) gates.follow(steps, past);
    },
  }) : null;

  let whole = null; // the text whose answer is shown
  const predict = settled(async () => {
    const text = field.value;
    const input = frames ? rows(text) : text;
    if (!input.length || (!frames && !input.trim())) {
      clear();
      fail("");
      return;
    }
    try {
      const { answers } = await post(modelPath(model.name, "predict"), { inputs: [input] });
      if (text !== field.value) return;
      fail("");
      whole = text;
      show(answers[0]);
      if (drawer?.open && !followed) await showGates(input);
    } catch (error) {
      if (text === field.value) fail(error.message);
    }
  }, streamed ? 500 : 120);

  async function showGates(input) {
    const told = await post(modelPath(model.name, "gates"), { input });
    gates.show(told.symbols, told.layers.filter((layer) => !layer.reverse).map((layer) => layer.values));
  }

  function changed() {
    live?.type(field.value);
    predict();
  }

  if (example) predict();
  return card(title, hint, h("label", { class: "wide", for: "label" }, frames ? `Frames: a line each, ${frames} numbers` : "Text"), field,
    problem, ...parts, drawer);
}

function rows(text) {
  return text.split("\n").filter((line) => line.trim()).map((line) => line.split(/[,;\s]+/).filter(Boolean).map(Number));
}
