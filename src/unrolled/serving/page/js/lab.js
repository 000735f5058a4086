// The lab: a cell in motion, and gradients against distance.

import { get, onConnection, onReturn } from "./api.js";
import { cellPanel } from "./cell.js";
import { reachPanel } from "./reach.js";
import { themeButton } from "./theme.js";

const problem = document.getElementById("problem");

function say(words) {
  problem.textContent = words;
  problem.hidden = !words;
}

async function begin() {
  try {
    const { cells, initialisers } = await get("/v1/lab/cells");
    document.getElementById("panels").replaceChildren(cellPanel(cells, initialisers), reachPanel(cells, initialisers));
  } catch (error) {
    if (!error.status) onReturn(begin);
    else say(error.message);
  }
}

themeButton(document.getElementById("theme"));
onConnection(say);
begin();
