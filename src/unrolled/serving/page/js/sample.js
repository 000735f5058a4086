// Draw a novel sequence, symbol by symbol; look at what else might have come, and go on from there.

import { events, modelPath } from "./api.js";
import { card, h, percent } from "./dom.js";
import { classPicker } from "./write.js";

export function samplePanel(model) {
  const slider = (label, least, most, step, value) => {
    const shown = h("output", {}, String(value));
    const input = h("input", { type: "range", min: String(least), max: String(most), step: String(step), value: String(value),
      oninput: () => { shown.textContent = input.value; } });
    return { input, label: h("label", {}, h("span", {}, `${label} `, shown), input) };
  };
  const temperature = slider("Temperature", 0, 2, 0.05, 0.8);
  const top = slider("Top-p", 0.05, 1, 0.05, 1);
  const prefix = h("input", { type: "text", id: "prefix" });
  const length = h("input", { type: "number", min: "1", max: "5000", value: "300" });
  const start = h("button", { class: "main", type: "submit" }, "Draw");
  const stop = h("button", { type: "button", disabled: true, onclick: () => control?.abort() }, "Stop");
  const picker = classPicker(model, () => {});
  const text = h("div", { class: `text${model.level === "word" ? " words" : ""}`, role: "group", "aria-label": "The sample; arrow keys move through its symbols" });
  const others = h("div", { class: "alternatives", "aria-live": "polite" });
  const status = h("p", { class: "hint", role: "status" });
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  let control = null;
  let begun = ""; // the text before the first span
  let drawn = []; // {text, shown, probability, alternatives}
  let shown = 0; // how many of them are on the page
  let waiting = false; // whether a picture is to come that shows more
  let pinned = false; // whether the symbol that is looked at was chosen, not only pointed at

  async function draw(from, kept) {
    control?.abort();
    const own = (control = new AbortController());
    [begun, drawn, pinned] = [from, kept, false];
    render();
    problem.hidden = true;
    stop.disabled = false;
    status.textContent = "drawing";
    const body = {
      prefix: from + kept.map((one) => one.text).join(""), length: Math.max(1, Number(length.value) || 300), stream: true, alternatives: 6,
      temperature: Number(temperature.input.value), top_p: Number(top.input.value), label: picker?.lastChild.value,
    };
    try {
      for await (const { name, data } of events(modelPath(model.name, "sample"), body, own.signal)) {
        if (own !== control) return;
        if (name === "symbol") add(data);
        if (name === "problem") throw new Error(data.error);
        if (name === "end") status.textContent = data.reason === "end" ? "the model ended it" : "as long as was asked for";
      }
    } catch (error) {
      if (own !== control) return;
      status.textContent = error.name === "AbortError" ? "stopped" : "";
      problem.hidden = error.name === "AbortError";
      problem.textContent = error.message;
    }
    append();
    stop.disabled = true;
  }

  // Symbols come faster than a screen can show them: what came since the last picture goes into the next one.
  function add(symbol) {
    drawn.push(symbol);
    if (!waiting) requestAnimationFrame(append);
    waiting = true;
  }

  function append() {
    waiting = false;
    const fresh = drawn.slice(shown);
    text.append(...fresh.map((symbol, place) => span(symbol, shown + place)));
    shown = drawn.length;
    if (fresh.length) text.scrollTop = text.scrollHeight;
  }

  function span(symbol, place) {
    const written = symbol.text === "" ? symbol.shown : symbol.text === "\n" ? "↵\n" : symbol.text;
    return h("span", {
      role: "button", tabindex: place ? "-1" : "0", "aria-label": `${symbol.shown}, ${percent(symbol.probability)}`,
      title: `${symbol.shown}: ${percent(symbol.probability)}`, onmouseenter: () => pinned || look(place), onfocus: () => look(place),
      onclick: () => look(place, true), onkeydown: (event) => move(event, place),
    }, written);
  }

  function move(event, place) {
    const ways = { ArrowRight: place + 1, ArrowLeft: place - 1, Home: 0, End: drawn.length - 1 };
    if (event.key === "Escape") pinned = false;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      look(place, true);
    } else if (event.key in ways) {
      event.preventDefault();
      pinned = false;
      symbols()[ways[event.key]]?.focus();
    }
  }

  const symbols = () => text.querySelectorAll("[role=button]");

  function look(place, enter = false) {
    text.querySelector(".chosen")?.classList.remove("chosen");
    pinned = enter;
    symbols()[place].classList.add("chosen");
    const buttons = drawn[place].alternatives.map((one) => h("button", {
      type: "button", "aria-label": `go on with ${one.shown}, ${percent(one.probability)}`,
      onclick: () => draw(begun, [...drawn.slice(0, place), { ...one, text: one.symbol, alternatives: drawn[place].alternatives }]),
    }, `${one.shown} `, h("small", {}, percent(one.probability))));
    others.replaceChildren(h("p", { class: "hint" }, `In the place of ${drawn[place].shown} (${percent(drawn[place].probability)}) there might have come; choose one to go on with it:`),
      h("div", { class: "choices" }, ...buttons));
    if (enter) buttons[0]?.focus();
  }

  function render() {
    shown = drawn.length;
    text.replaceChildren(h("b", {}, begun), ...drawn.map(span));
    others.replaceChildren();
  }

  const form = h("form", { onsubmit: (event) => { event.preventDefault(); draw(prefix.value, []); } },
    h("div", { class: "fields" }, h("label", {}, "Begins with", prefix), picker, temperature.label, top.label,
      h("label", {}, "Length", length), start, stop));
  return card("Sample", "Each symbol is drawn from the model's distribution and fed back.", form, problem, text, status, others);
}
