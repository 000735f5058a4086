// The page: choose a model, and get the panels that suit its task.

import { forgetReturns, get, modelPath, onConnection, onReturn } from "./api.js";
import { comparePanel } from "./compare.js";
import { h } from "./dom.js";
import { classifyPanel, tagPanel } from "./label.js";
import { samplePanel } from "./sample.js";
import { themeButton } from "./theme.js";
import { translatePanel } from "./translate.js";
import { writePanel } from "./write.js";

const PANELS = {
  "language-model": [writePanel, samplePanel, comparePanel],
  generate: [writePanel, samplePanel],
  tag: [tagPanel],
  classify: [classifyPanel],
  translate: [translatePanel],
};

const picker = document.getElementById("models");
const panels = document.getElementById("panels");
const title = document.getElementById("title");
const about = document.getElementById("about");
const problem = document.getElementById("problem");

let opening = null; // the model that was asked for last

function say(words) {
  problem.textContent = words;
  problem.hidden = !words;
}

function describe(model) {
  const read = model.frame ? `frames of ${model.frame} numbers` : `${model.symbols.toLocaleString()} symbols (${model.level})`;
  const way = model.bidirectional ? ", both directions" : "";
  const size = `${model.parameters.toLocaleString()} parameters`;
  const stale = model.stale ? ` ${model.name}: ${model.stale}.` : "";
  return `${model.task}: ${model.cell} of ${model.hidden}, ${model.layers} layer${model.layers > 1 ? "s" : ""}${way}; ${size}; ${read}.${stale}`;
}

async function open(name) {
  forgetReturns();
  opening = name;
  try {
    const model = await get(modelPath(name));
    if (opening !== name) return;
    say("");
    title.textContent = name;
    document.title = `Unrolled: ${name}`;
    about.textContent = describe(model);
    panels.replaceChildren(...PANELS[model.task].map((panel) => panel(model)));
    history.replaceState(null, "", `#${encodeURIComponent(name)}`);
  } catch (error) {
    if (!error.status) onReturn(() => open(name));
    else say(error.message);
  }
}

async function begin() {
  try {
    const { models } = await get("/v1/models");
    picker.replaceChildren(...models.map((model) => h("option", { value: model.name }, model.name)));
    const wanted = decodeURIComponent(location.hash.slice(1));
    if (models.some((model) => model.name === wanted)) picker.value = wanted;
    await open(picker.value);
  } catch (error) {
    if (!error.status) onReturn(begin);
    else say(error.message);
  }
}

themeButton(document.getElementById("theme"));
onConnection(say);
picker.addEventListener("change", () => open(picker.value));
window.addEventListener("hashchange", () => {
  const wanted = decodeURIComponent(location.hash.slice(1));
  if (wanted === opening || ![...picker.options].some((one) => one.value === wanted)) return;
  picker.value = wanted;
  open(wanted);
});
begin();
