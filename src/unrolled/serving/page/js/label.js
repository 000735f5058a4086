// Taggers and classifiers: type, and watch the labels.

import { modelPath, post } from "./api.js";
import { bars, card, h, percent, settled } from "./dom.js";
import { gatesPanel } from "./gates.js";
import { Live } from "./live.js";

export function tagPanel(model) {
  const tags = h("div", { class: "tags", role: "list", "aria-label": "Tokens and their labels" });
  const said = h("p", { class: "hint", role: "status" });
  return labelPanel(model, {
    title: "Type and watch the tags", hint: model.latency ? `Its answers wait for at most ${model.latency} timesteps; here the whole is read again.` : "",
    show: (answer) => {
      const spans = answer.spans || [];
      const inside = (place) => spans.find((span) => place >= span.first && place < span.last);
      const types = [...new Set(model.labels.map((label) => label.replace(/^[BIESLU]-/, "")))].filter((one) => one !== "O");
      const tokens = answer.tokens || answer.labels.map((_, place) => String(place + 1));
      tags.replaceChildren(...tokens.map((token, place) => {
        const share = answer.label_probabilities[place];
        return h("span", { class: `tag${inside(place) ? ` span t${types.indexOf(inside(place).type) % 6}` : ""}`, role: "listitem", title: percent(share) }, token,
          h("small", {}, answer.labels[place]));
      }));
      said.textContent = spans.map((span) => `${span.text}: ${span.type} (${percent(span.probability)})`).join("; ");
    },
    clear: () => { tags.replaceChildren(); said.textContent = ""; },
    parts: [tags, said],
  });
}

export function classifyPanel(model) {
  const shares = bars("Classes and their probabilities");
  const said = h("p", { class: "verdict", role: "status" });
  return labelPanel(model, {
    title: "Type and watch the class", hint: "",
    show: (answer) => {
      const probabilities = Object.entries(answer.probabilities || {});
      probabilities.sort(([, one], [, other]) => other - one); // names that are numbers would come in their own order
      shares.show(probabilities.slice(0, 12));
      said.textContent = answer.value !== undefined ? `${answer.label} (${answer.value.toFixed(3)})` : `${answer.label}, ${percent(answer.probabilities[answer.label])}`;
    },
    clear: () => { shares.show([]); said.textContent = ""; },
    parts: [said, shares],
  });
}

function labelPanel(model, { title, hint, show, clear, parts }) {
  const frames = model.frame || 0;
  const example = frames ? Array.from({ length: 5 }, () => Array(frames).fill(0).join(", ")).join("\n") : "";
  const field = h("textarea", { id: "label", spellcheck: false, rows: frames ? "6" : "3", wrap: frames ? "off" : "soft", oninput: () => changed() }, example);
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const gates = model.gates.length ? gatesPanel(model) : null;
  const drawer = gates && h("details", { ontoggle: () => changed() }, h("summary", {}, "Gates and states"), gates);
  const along = h("p", { class: "hint", "aria-live": "polite" });
  let asked = 0;
  const fail = (words) => { problem.textContent = words; problem.hidden = !words; };
  // A classifier that reads in one direction also says what it thinks on the way, through a stream.
  const live = model.task === "classify" && model.streams && !frames ? new Live(model, {
    whole: model.level !== "character", fail: () => {},
    show: (steps) => { along.textContent = onTheWay(steps); },
  }) : null;

  const predict = settled(async () => {
    const number = ++asked;
    const input = frames ? rows(field.value) : field.value;
    if (!input.length || (!frames && !input.trim())) {
      clear();
      fail("");
      return;
    }
    try {
      const { answers } = await post(modelPath(model.name, "predict"), { inputs: [input] });
      if (number !== asked) return;
      fail("");
      show(answers[0]);
      if (drawer?.open) await showGates(input);
    } catch (error) {
      if (number === asked) fail(error.message);
    }
  }, 120);

  async function showGates(input) {
    const told = await post(modelPath(model.name, "gates"), { input });
    gates.show(told.symbols, told.layers.filter((layer) => !layer.reverse).map((layer) => layer.values));
  }

  function changed() {
    predict();
    live?.type(field.value);
  }

  if (example) predict();
  return card(title, hint, h("label", { class: "wide", for: "label" }, frames ? `Frames: a line each, ${frames} numbers` : "Text"), field,
    problem, ...parts, along, drawer);
}

function rows(text) {
  return text.split("\n").filter((line) => line.trim()).map((line) => line.split(/[,;\s]+/).filter(Boolean).map(Number));
}

function onTheWay(steps) {
  const changes = steps.filter((step, place) => step.label && (place === 0 || steps[place - 1].label !== step.label));
  if (!changes.length) return "";
  return `On the way: ${changes.map((step) => `${step.label} from ${step.shown} on`).join(", ")}`;
}
