// The API key, where the server wants one: asked for once, in a dialog, and kept as long as the tab is open.

import { h } from "./dom.js";

const PLACE = "unrolled-key";
let asking = null;

export function key() {
  return sessionStorage.getItem(PLACE) || "";
}

// Whether to try again. `used` is what was refused: requests that fail together ask once.
export function askForKey(used) {
  if (key() && used !== `Bearer ${key()}`) return Promise.resolve(true);
  asking ??= dialog(Boolean(used)).finally(() => { asking = null; });
  return asking;
}

function dialog(refused) {
  return new Promise((answer) => {
    const field = h("input", { type: "password", id: "key", autocomplete: "off", required: true });
    const words = refused ? "The server does not take this key." : "This server answers only to those who have an API key.";
    const box = h("dialog", { "aria-labelledby": "key-title" }, h("form", { method: "dialog" }, h("h2", { id: "key-title" }, "API key"),
      h("p", { class: "hint" }, `${words} It is kept until this tab is closed.`), h("label", { class: "wide" }, "Key", field),
      h("div", { class: "fields" }, h("button", { class: "main", value: "use" }, "Use it"), h("button", { value: "", formnovalidate: "" }, "Cancel"))));
    box.addEventListener("close", () => {
      const given = box.returnValue === "use" ? field.value.trim() : "";
      if (given) sessionStorage.setItem(PLACE, given);
      box.remove();
      answer(Boolean(given));
    });
    document.body.append(box);
    box.showModal();
  });
}
