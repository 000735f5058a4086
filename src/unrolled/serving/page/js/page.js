// The page: choose a model, and get the panels that suit its task.

import { get, modelPath, onConnection } from "./api.js";
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
const about = document.getElementById("about");
const problem = document.getElementById("problem");

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
  try {
    const model = await get(modelPath(name));
    say("");
    about.textContent = describe(model);
    panels.replaceChildren(...PANELS[model.task].map((panel) => panel(model)));
    history.replaceState(null, "", `#${encodeURIComponent(name)}`);
  } catch (error) {
    say(error.message);
  }
}

async function begin() {
  themeButton(document.getElementById("theme"));
  onConnection(say);
  try {
    const { models } = await get("/v1/models");
    picker.replaceChildren(...models.map((model) => h("option", { value: model.name }, model.name)));
    const wanted = decodeURIComponent(location.hash.slice(1));
    if (models.some((model) => model.name === wanted)) picker.value = wanted;
    picker.addEventListener("change", () => open(picker.value));
    await open(picker.value);
  } catch (error) {
    say(error.message);
  }
}

begin();
