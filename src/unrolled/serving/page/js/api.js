// The server's API. Every failure becomes an Error in words; whoever listens learns that the server is gone or back.

let key = sessionStorage.getItem("unrolled-key") || "";
const watchers = [];

export function onConnection(watcher) {
  watchers.push(watcher);
}

function tell(words) {
  for (const watcher of watchers) watcher(words);
}

async function send(method, path, body, signal) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    tell("The server does not answer. It is tried again with your next key.");
    throw new Error("the server does not answer");
  }
  tell("");
  if (answer.status === 401 && ask()) return send(method, path, body, signal);
  if (!answer.ok) {
    const told = await answer.json().catch(() => ({}));
    const error = new Error(told.error || `the server answered ${answer.status}`);
    error.status = answer.status;
    throw error;
  }
  return answer;
}

function ask() {
  const given = window.prompt("This server needs an API key:");
  if (!given) return false;
  key = given;
  sessionStorage.setItem("unrolled-key", key);
  return true;
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
    const { value, done } = await reader.read();
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
