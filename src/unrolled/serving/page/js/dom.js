// Elements, made in one call: h("p", {class: "hint"}, "text", child).

export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key in element && typeof value !== "string") element[key] = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// The same for the parts of an SVG.
export function s(name, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

export function card(title, hint, ...children) {
  const id = `heading-${Math.random().toString(36).slice(2)}`;
  return h("section", { class: "card", "aria-labelledby": id }, h("h2", { id }, title), hint && h("p", { class: "hint" }, hint),
    ...children);
}

export function percent(share) {
  const number = 100 * share;
  return number >= 10 ? `${number.toFixed(0)} %` : number >= 0.1 ? `${number.toFixed(1)} %` : "< 0.1 %";
}

// Horizontal bars; rows are [name, share between 0 and 1]. Elements are kept from call to call, so that bars glide.
export function bars(label) {
  const element = h("div", { class: "bars", role: "list", "aria-label": label });
  element.show = (rows) => {
    while (element.children.length > rows.length) element.lastChild.remove();
    while (element.children.length < rows.length) {
      element.append(h("div", { role: "listitem", style: "display: contents" }, h("span", { class: "name" }),
        h("span", { class: "track", "aria-hidden": "true" }, h("i")), h("span", { class: "share" })));
    }
    rows.forEach(([name, share], place) => {
      const [title, track, number] = element.children[place].children;
      title.textContent = name;
      track.firstChild.style.width = `${(100 * share).toFixed(2)}%`;
      number.textContent = percent(share);
    });
  };
  return element;
}

// Calls `action` when nothing has changed for a moment.
export function settled(action, wait = 200) {
  let timer = 0;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => action(...given), wait);
  };
}
