// Keeps a page true while somebody looks at it: the events that concern it renew its live parts from
// the server, and a part with data-every renews itself from its own address.
"use strict";

const PAUSE_MS = 250;
const RETRY_MS = 5000;
const RENEW_MS = 20000;
const CHANGING_MS = 1000;
const KEPT = 8;
const lost = document.querySelector("#connection");
// What the page says where this script does not come.
lost.hidden = true;
lost.textContent = lost.dataset.lost;
lost.removeAttribute("class");
let renewing = false;
let again = false;
let source = null;
let retry = null;
let told = null;
let later = null;

// Throws where the server does not answer, or cannot now.
async function renew(url) {
  const headers = { accept: "text/html" };
  // No older than the event, whichever console answers.
  if (told) headers["last-event-id"] = told;
  const answer = await fetch(url, { headers, signal: AbortSignal.timeout(RENEW_MS) });
  if (answer.status >= 500) throw new Error(`${answer.status}`);
  if (!answer.ok) return;
  if (new URL(answer.url).pathname === "/login") {
    lost.textContent = lost.dataset.ended;
    return;
  }
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of document.querySelectorAll("[data-live]")) {
    const fresh = page.querySelector(`[data-live="${part.dataset.live}"]`);
    if (fresh) replace(part, fresh);
  }
  const news = page.querySelector("#notice");
  const notice = document.querySelector("#notice");
  if (news && notice && news.textContent.trim() !== notice.textContent.trim()) {
    notice.replaceChildren(...news.childNodes);
  }
  // Where a stream that is opened anew begins.
  if (page.body.dataset.cursor) document.body.dataset.cursor = page.body.dataset.cursor;
  whileChanging();
}

function soonAfter(ms) {
  clearTimeout(later);
  later = setTimeout(soon, ms);
}

// What is being verified gets on without an event for each step.
function whileChanging() {
  if (document.querySelector("[data-changing]")) soonAfter(CHANGING_MS);
}

// Whoever is filling in a form there, reads what they have opened or goes by the keyboard stays there.
function replace(part, fresh) {
  const held = part.contains(document.activeElement) ? document.activeElement : null;
  if (held && held.matches("input, select, textarea")) return;
  for (const { id } of part.querySelectorAll("details[id][open]")) {
    const same = fresh.querySelector(`#${CSS.escape(id)}`);
    if (same) same.open = true;
  }
  if (part.innerHTML === fresh.innerHTML) return;
  part.replaceChildren(...fresh.childNodes);
  const place = held && [...part.querySelectorAll("a, button, summary")].find((one) => one.isEqualNode(held));
  if (place) place.focus();
}

// At once, and then once a pause for all that came meanwhile: never two at a time.
async function soon() {
  again = true;
  if (renewing || document.hidden) return;
  renewing = true;
  while (again) {
    again = false;
    clearTimeout(later);
    try {
      await renew(location.href);
      lost.hidden = source !== null && source.readyState === EventSource.OPEN;
    } catch {
      // No other event need come: the page would stay as it is.
      lost.hidden = false;
      soonAfter(RETRY_MS);
    }
    await new Promise((done) => setTimeout(done, PAUSE_MS));
  }
  renewing = false;
}

function happened(event) {
  told = event.lastEventId;
  soon();
}

function follow() {
  clearTimeout(retry);
  if (source) source.close();
  // A browser has few connections to spare: pages that nobody sees do without.
  if (document.hidden) return;
  const { about, cursor, events } = document.body.dataset;
  source = new EventSource(`/api/events/stream?after=${encodeURIComponent(cursor)}&${about}`);
  for (const name of events.split(" ")) source.addEventListener(name, happened);
  source.onerror = () => {
    lost.hidden = false;
    if (source.readyState !== EventSource.CLOSED) return;
    // Refused, as where too many are open: a browser does not come back from that by itself.
    soon();
    retry = setTimeout(follow, RETRY_MS);
  };
  source.onopen = () => {
    if (!lost.hidden) soon();
    lost.hidden = true;
  };
}

function resume() {
  follow();
  if (!document.hidden) soon();
}

function shown(answer) {
  const table = document.querySelector("#answers");
  const row = table.tBodies[0].insertRow(0);
  for (const text of [answer.prediction, answer.probability, answer.asset, answer.revision, answer.ms]) {
    row.insertCell().textContent = text;
  }
  for (const cell of [row.cells[3], row.cells[4]]) cell.className = "number";
  while (table.tBodies[0].rows.length > KEPT) table.tBodies[0].deleteRow(KEPT);
  table.hidden = false;
}

function remembered(key) {
  return JSON.parse(sessionStorage.getItem(key) || "[]");
}

async function ask(panel, body) {
  const begun = performance.now();
  const answer = await fetch(panel.dataset.url, {
    method: "POST", headers: { "content-type": "application/json" }, body,
  });
  const said = await answer.json();
  const ms = Math.round(performance.now() - begun);
  const found = answer.ok
    ? said.predictions[0].values.map((row) => ({
      prediction: row[0],
      probability: row[1] === undefined ? "" : row[1].map((share) => share.toFixed(4)).join("  "),
      asset: said.asset_id, revision: said.revision, ms,
    }))
    : [{ prediction: `error: ${said.detail}`, probability: said.code, asset: "", revision: "", ms }];
  found.forEach(shown);
  const kept = [...remembered(panel.dataset.url), ...found].slice(-KEPT);
  sessionStorage.setItem(panel.dataset.url, JSON.stringify(kept));
}

function cell(text, type) {
  if (text === "") return null;
  if (type === "boolean") return text === "true";
  return type === "string" || type === "timestamp" ? text : Number(text);
}

function test(panel) {
  const fields = JSON.parse(panel.dataset.fields);
  const types = JSON.parse(panel.dataset.types);
  const rows = JSON.parse(panel.dataset.rows);
  const json = document.querySelector("#json");
  const body = () => JSON.stringify({
    input_data: [{ fields, values: [fields.map((_, at) => cell(panel.elements[String(at)].value, types[at]))] }],
  });
  panel.addEventListener("input", (event) => { if (event.target !== json) json.value = body(); });
  panel.addEventListener("submit", (event) => { event.preventDefault(); ask(panel, body()); });
  document.querySelector("#send-json").addEventListener("click", () => ask(panel, json.value));
  for (const button of panel.querySelectorAll("[data-row]")) {
    button.addEventListener("click", () => {
      fields.forEach((name, at) => {
        const value = rows[Number(button.dataset.row)][name];
        panel.elements[String(at)].value = value === null || value === undefined ? "" : String(value);
      });
      json.value = body();
    });
  }
  remembered(panel.dataset.url).forEach(shown);
}

document.addEventListener("click", (event) => {
  const text = event.target.dataset && event.target.dataset.copy;
  if (text) navigator.clipboard.writeText(text).then(() => { event.target.textContent = "Copied"; });
});
const panel = document.querySelector("#panel");
if (panel) test(panel);
for (const part of document.querySelectorAll("[data-every]")) {
  const tick = () => { if (!document.hidden) renew(part.dataset.from).catch(() => {}); };
  setInterval(tick, 1000 * part.dataset.every);
  // What the server has begun to look for when it was asked first.
  setTimeout(tick, 1000);
}
document.addEventListener("visibilitychange", resume);
follow();
whileChanging();
// A stream may not notice.
addEventListener("offline", () => { lost.hidden = false; });
addEventListener("online", follow);
