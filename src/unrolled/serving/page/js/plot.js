// Heat maps and curves by plotly.js, which is loaded when the first of them is drawn.

const COLOURS = ["#3b7fc4", "#d9822b", "#4f9d69", "#b5546c", "#8068b0", "#8a8f3c", "#3f9aa8"]; // told apart on light and dark

let loading = null;

function plotly() {
  loading ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = "/static/plotly.min.js";
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => reject(new Error("plotly.js could not be loaded"));
    document.head.append(script);
  });
  return loading;
}

function colours() {
  const style = getComputedStyle(document.documentElement);
  const probe = document.createElement("i");
  document.body.append(probe);
  const found = {};
  for (const name of ["ink", "soft", "line", "card", "accent"]) {
    probe.style.color = style.getPropertyValue(`--${name}`);
    found[name] = getComputedStyle(probe).color;
  }
  probe.remove();
  return found;
}

const drawn = new Map(); // element -> how to draw it again in other colours

export async function draw(element, data, layout) {
  const Plotly = await plotly();
  element.style.minHeight = `${layout.height}px`; // what was kept free until now
  const again = () => {
    const { ink, line } = colours();
    const axis = { gridcolor: line, zerolinecolor: line, linecolor: line, automargin: true };
    const whole = {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 10, r: 10, t: 10, b: 10 },
      font: { color: ink, family: "system-ui, sans-serif", size: 12 }, ...layout,
      xaxis: { ...axis, ...layout.xaxis }, yaxis: { ...axis, ...layout.yaxis },
    };
    return Plotly.react(element, data, whole, { responsive: true, displayModeBar: false });
  };
  drawn.set(element, again);
  await again();
}

export function redraw() {
  for (const [element, again] of drawn) {
    if (element.isConnected) again();
    else drawn.delete(element);
  }
}

// As many of the symbols on the x axis as there is room for.
function ticks(element, columns) {
  const wide = Math.max(16, 9 * Math.min(8, Math.max(...columns.map((one) => one.length))));
  const step = Math.max(1, Math.ceil(columns.length / Math.max(4, Math.floor(element.clientWidth / wide))));
  const shown = columns.map((_, place) => place).filter((place) => place % step === 0);
  return { tickvals: shown, ticktext: shown.map((place) => columns[place]), tickangle: 0 };
}

// Rows of numbers with symbols on the axes; symbols that come twice are kept apart by their place.
export function heat(element, { values, columns, rows, columnTitle, rowTitle, low, high, signed, height }) {
  const places = columns.map((_, place) => place);
  const named = rows && { tickvals: rows.map((_, place) => place), ticktext: rows, autorange: "reversed" };
  return draw(element, [{
    type: "heatmap", z: values, x: places, zmin: low, zmax: high, colorscale: signed ? "RdBu" : "Viridis",
    reversescale: Boolean(signed), colorbar: { thickness: 10, outlinewidth: 0 },
    hovertemplate: "%{customdata}: %{z:.3f}<extra></extra>",
    customdata: values.map((row, number) => row.map((_, place) => `${rows ? rows[number] : `unit ${number}`} · ${columns[place]}`)),
  }], {
    height: height || 320,
    xaxis: { title: { text: columnTitle }, ...ticks(element, columns) },
    yaxis: { title: { text: rowTitle }, showgrid: false, ...named },
  });
}

// Curves: [{name, places, values, dash, width}]; null in values is a gap. columns: symbols on the x axis, from place 0.
export function curves(element, made, { xTitle, yTitle = "", logarithmic = false, height = 320, columns = null, range }) {
  return draw(element, made.map(({ name, places, values, dash, width }) => ({
    type: "scatter", mode: values.length < 30 ? "lines+markers" : "lines", name, x: places, y: values,
    line: { dash: dash || "solid", width: width || 2 }, hovertemplate: `%{x}: %{y:.3g}<extra>${name}</extra>`,
  })), {
    height, showlegend: true, legend: { orientation: "h", y: 1.03, yanchor: "bottom", x: 0 }, colorway: COLOURS,
    xaxis: { title: { text: xTitle }, zeroline: false, ...(columns ? ticks(element, columns) : {}) },
    yaxis: { title: { text: yTitle }, zeroline: !logarithmic, range, ...(logarithmic ? { type: "log", exponentformat: "power" } : {}) },
  });
}
