// The server's API. Every failure becomes an Error in words; who listens learns that the server is gone, or back.

import { askForKey, key } from "./key.js";

const TRIES = 4; // of a request that a busy server puts off
const LOOK_EVERY = 2000; // milliseconds between two looks for a server that is gone
const watchers = [];
let returned = []; // what is to be done when the server is back
let lost = false;

export function onConnection(watcher) {
  watchers.push(watcher);
}

export function onReturn(action) {
  returned.push(action);
}

export function forgetReturns() {
  returned = [];
}

function tell(words) {
  for (const watcher of watchers) watcher(words);
}

const pause = (milliseconds) => new Promise((done) => { setTimeout(done, milliseconds); });

async function lookAgain() {
  if (lost) return;
  lost = true;
  tell("The server does not answer. This page looks for it every two seconds, and goes on when it is back.");
  while (lost) {
    await pause(LOOK_EVERY);
    const alive = await fetch("/healthz").then((answer) => answer.ok, () => false);
    if (alive) {
      lost = false;
      tell("");
      for (const action of returned) action();
    }
  }
}

async function send(method, path, body, signal, tries = TRIES) {
  const headers = key() ? { Authorization: `Bearer ${key()}` } : {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    lookAgain();
    throw new Error("the server does not answer");
  }
  if (answer.status === 401 && await askForKey(headers.Authorization)) return send(method, path, body, signal, tries);
  if ((answer.status === 503 || answer.status === 429) && answer.headers.has("Retry-After") && tries > 1) {
    await pause(1000 * Math.min(5, Number(answer.headers.get("Retry-After")) || 1));
    signal?.throwIfAborted();
    return send(method, path, body, signal, tries - 1);
  }
  if (!answer.ok) {
    const told = await answer.json().catch(() => ({}));
    const error = new Error(told.error || `the server answered ${answer.status}`);
    error.status = answer.status;
    throw error;
  }
  return answer;
}

export async function get(path) {
  return (await send("GET", path)).json();
}

export async function post(path, body, signal) {
  return (await send("POST", path, body, signal)).json();
}

export function modelPath(name, verb = "") {
  return `/v1/models/${encodeURIComponent(name)}${verb && `/${verb}`}`;
}

// Server-sent events of a POST, one after the other: {name, data}.
export async function* events(path, body, signal) {
  const answer = await send("POST", path, body, signal);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read().catch((error) => {
      if (error.name === "AbortError") throw error;
      lookAgain();
      throw new Error("the server went away while it drew");
    });
    if (done) return;
    rest += value;
    for (let end = rest.indexOf("\n\n"); end >= 0; end = rest.indexOf("\n\n")) {
      const lines = rest.slice(0, end).split("\n");
      rest = rest.slice(end + 2);
      const part = (start) => lines.filter((line) => line.startsWith(start)).map((line) => line.slice(start.length)).join("\n");
      yield { name: part("event: "), data: JSON.parse(part("data: ")) };
    }
  }
}
