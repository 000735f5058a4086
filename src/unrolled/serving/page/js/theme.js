// Light or dark: the system's choice until the button says otherwise, which is then remembered.

import { redraw } from "./plot.js";

export function themeButton(button) {
  const root = document.documentElement;
  const chosen = localStorage.getItem("unrolled-theme");
  if (chosen) root.dataset.theme = chosen;
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  button.addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : system.matches;
    root.dataset.theme = dark ? "light" : "dark";
    localStorage.setItem("unrolled-theme", root.dataset.theme);
    redraw();
  });
  system.addEventListener("change", redraw);
}
