// The lab: a cell in motion, and gradients against distance.

import { get, onConnection } from "./api.js";
import { cellPanel } from "./cell.js";
import { reachPanel } from "./reach.js";
import { themeButton } from "./theme.js";

const problem = document.getElementById("problem");

function say(words) {
  problem.textContent = words;
  problem.hidden = !words;
}

async function begin() {
  themeButton(document.getElementById("theme"));
  onConnection(say);
  try {
    const { cells, initialisers } = await get("/v1/lab/cells");
    document.getElementById("panels").replaceChildren(cellPanel(cells, initialisers), reachPanel(cells, initialisers));
  } catch (error) {
    say(error.message);
  }
}

begin();
