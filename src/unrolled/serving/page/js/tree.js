// A beam search as a tree: a column for each step, the best hypothesis of a step on top.

import { h, s } from "./dom.js";

const ROW = 44;
const HIGH = 24;
const LONGEST = 10; // letters of a symbol; of longer ones the beginning
const FATES = { answer: "the answer", finished: "finished, its score below", continued: "went on", pruned: "pruned", cut: "cut off" };
const WORDS = { ...FATES, stopped: "could no longer become the answer" };

const shortened = (symbol) => ([...symbol].length > LONGEST ? `${[...symbol].slice(0, LONGEST - 1).join("")}…` : symbol);

export function treePicture() {
  const picture = h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "The search, step by step" });
  const element = h("div", { hidden: true }, h("h3", {}, "The search"),
    h("p", { class: "hint" }, "A column for each step; its best hypothesis on top."), picture,
    h("div", { class: "legend fates" }, ...Object.entries(FATES).map(([fate, words]) => h("span", { class: fate }, words))));
  element.show = (tree) => {
    element.hidden = !tree;
    picture.replaceChildren(...(tree ? [drawn(tree)] : []));
  };
  return element;
}

function drawn({ nodes, answer }) {
  const best = new Set();
  for (let number = answer; number > 0; number = nodes[number].parent) best.add(number);
  const longest = Math.max(...nodes.map((node) => [...shortened(node.symbol)].length));
  const column = 34 + 8 * longest;
  const steps = nodes.at(-1).step;
  const width = column * steps + 30;
  const height = ROW * (1 + Math.max(...nodes.map((node) => node.rank)));
  const at = (node) => (node.step === 0 ? [8, HIGH / 2] : [20 + column * (node.step - 0.5), HIGH / 2 + ROW * node.rank]);
  // What belongs to the answer is drawn last, over the others.
  const order = nodes.slice(1).sort((one, other) => best.has(one.number) - best.has(other.number));
  const wires = order.map((node) => {
    const [[x0, y0], [x1, y1]] = [at(nodes[node.parent]), at(node)];
    const middle = (x0 + x1) / 2;
    return s("path", { class: `wire${best.has(node.number) ? " answer" : ""}`, d: `M${x0} ${y0}C${middle} ${y0} ${middle} ${y1} ${x1} ${y1}` });
  });
  const words = nodes.filter((node) => best.has(node.number)).map((node) => node.symbol).join(" ").trim();
  return s("svg", { class: "tree", width, height, viewBox: `0 -1 ${width} ${height}`, role: "img",
    "aria-label": `${nodes.length - 1} hypotheses in ${steps} steps; the answer: ${words}` },
  ...wires, s("circle", { class: "root", cx: 8, cy: HIGH / 2, r: 4 }), ...order.map((node) => box(node, at(node), column - 16, best.has(node.number))));
}

function box(node, [x, y], width, best) {
  const fate = best ? "answer" : node.fate;
  const ended = node.fate === "finished" || node.fate === "cut";
  const group = s("g", { class: `node ${fate}`, transform: `translate(${x} ${y})` },
    s("title", {}, `${node.symbol}: log P ${node.log_probability.toFixed(2)}, score ${node.score.toFixed(3)}; ${WORDS[fate]}`),
    s("rect", { x: -width / 2, y: -HIGH / 2, width, height: HIGH, rx: 6 }),
    s("text", { "text-anchor": "middle", y: 5 }, shortened(node.symbol)));
  if (ended) group.append(s("text", { class: "below", "text-anchor": "middle", y: HIGH / 2 + 12 }, node.score.toFixed(2)));
  return group;
}
