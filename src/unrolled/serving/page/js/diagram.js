// A cell as an SVG: boxes, arrows, and the numbers of one timestep in the boxes.

import { s } from "./dom.js";
import { layered } from "./layout.js";

const WIDTH = 92;
const LINE = 15;

export function number(value) {
  if (value === null) return "∞";
  const size = Math.abs(value);
  const text = size !== 0 && (size >= 1000 || size < 0.005) ? value.toExponential(0) : value.toFixed(2);
  return text.replaceAll("-", "−").replace("e+", "e");
}

const PER_LINE = 2;

// looked(node) is called with the box that has the focus or the pointer. The element's show(values) fills the boxes:
// {id: [number, ...]}.
export function diagram(cell, hidden, looked) {
  const lines = Math.ceil(Math.min(hidden, 4) / PER_LINE);
  const size = { width: WIDTH, height: 28 + LINE * lines };
  const { places, arrows, width, height } = layered(cell.nodes, cell.edges, size);
  const wires = arrows.map(({ from, to, points }) => {
    const wire = s("path", { class: "wire", d: curve(points), "marker-end": "url(#arrow)" });
    return { from, to, wire };
  });
  const boxes = new Map(cell.nodes.map((node) => [node.id, box(node, places.get(node.id), size)]));
  const svg = s("svg", { class: "cell", viewBox: `-6 -6 ${width + 12} ${height + 12}`, role: "group",
    "aria-label": `The cell ${cell.name}, from its inputs at the top to its new states` },
  s("defs", {}, s("marker", { id: "arrow", viewBox: "0 0 8 8", refX: 8, refY: 4, markerWidth: 9, markerHeight: 9, markerUnits: "userSpaceOnUse", orient: "auto-start-reverse" },
    s("path", { d: "M0 0 8 4 0 8z", class: "tip" }))),
  ...wires.map((one) => one.wire), ...[...boxes.values()].map((one) => one.group));
  svg.style.maxWidth = `${Math.max(width * 1.25, 260)}px`;
  svg.style.minWidth = `${Math.min(width, 280)}px`;

  const light = (node) => {
    for (const { from, to, wire } of wires) wire.classList.toggle("lit", Boolean(node) && (from === node.id || to === node.id));
    for (const [id, { group }] of boxes) group.classList.toggle("lit", id === node?.id);
    looked(node);
  };
  for (const node of cell.nodes) {
    const { group } = boxes.get(node.id);
    for (const event of ["mouseenter", "focus"]) group.addEventListener(event, () => light(node));
    for (const event of ["mouseleave", "blur"]) group.addEventListener(event, () => light(null));
  }
  svg.show = (values) => {
    for (const node of cell.nodes) {
      const { group, rows, title } = boxes.get(node.id);
      const own = values ? values[node.id] : [];
      rows.forEach((row, place) => {
        const shown = own.slice(place * PER_LINE, (place + 1) * PER_LINE).map(number).join(" ");
        row.textContent = place === rows.length - 1 && own.length > rows.length * PER_LINE ? `${shown} …` : shown;
      });
      group.setAttribute("aria-label", `${title}${own.length ? `: ${own.map(number).join(", ")}` : ""}`);
    }
  };
  return svg;
}

function box(node, { x, y }, { width, height }) {
  const kind = node.state || node.kind === "state" || node.kind === "input" ? "state" : node.kind;
  const group = s("g", { class: `box-group ${kind}`, tabindex: "0", role: "img", transform: `translate(${x} ${y})` });
  group.append(s("rect", { class: `box ${kind}`, width, height, rx: node.kind === "operation" && !node.state ? 14 : 6 }));
  const sign = node.sign && s("tspan", { class: "sign", dx: node.name ? 7 : 0 }, node.sign);
  group.append(s("text", { class: "name", x: width / 2, y: 19, "text-anchor": "middle" }, ...written(node.name), ...(sign ? [sign] : [])));
  const rows = [];
  for (let at = 36; at < height; at += LINE) {
    rows.push(s("text", { class: "numbers", x: width / 2, y: at, "text-anchor": "middle" }));
  }
  group.append(...rows);
  return { group, rows, title: node.name || node.formula };
}

// Γ_u with its u lowered.
function written(name) {
  const [head, below] = name.split("_");
  if (!below) return [name];
  return [s("tspan", {}, head), s("tspan", { class: "below", dy: 4 }, below), s("tspan", { dy: -4 }, "\u200b")];
}

function curve(points) {
  let path = `M${points[0].join(" ")}`;
  for (let place = 1; place < points.length; place += 1) {
    const [[x0, y0], [x1, y1]] = [points[place - 1], points[place]];
    const straight = x0 === x1;
    path += straight ? `L${x1} ${y1}` : `C${x0} ${(y0 + y1) / 2} ${x1} ${(y0 + y1) / 2} ${x1} ${y1}`;
  }
  return path;
}
