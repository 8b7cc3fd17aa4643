/** What an answer looks like: totals, notes, chart, table, the request and its downloads, and problems in plain words. */

import { key, readBlob } from "./api.js";
import { Chart } from "./chart.js";
import { byId, counted, grouped, make, name, show } from "./dom.js";
import { FORMATS, pathOf, requestText } from "./request.js";
import { countsAt, ctr } from "./tally.js";
import { DAY, localText, minutesWords, timeWords } from "./time.js";
import { addressOf } from "./view.js";
import { freshness, missingIn, notesOf, outside } from "./words.js";

const PAGE = 100; // rows of the table shown at once
const digits = (value) => (value === null ? "–" : value.toFixed(4));

let chart;
let drawn;
let shown = { rows: [], times: [], count: 0, from: 0 };

/** What is offered to do about an earlier answer is no longer offered once another is asked for. */
export function rest() {
  if (byId("problem").contains(document.activeElement) || byId("news").contains(document.activeElement)) byId("results").focus();
  byId("problem").querySelectorAll("button").forEach((button) => { button.hidden = true; });
  show(false, "news");
}

/** Take away what an earlier answer said, before another is shown. */
export function clear() {
  show(false, "loading", "problem", "notes", "totals", "chart-card", "table-card", "key-panel", "news");
}

/** Tell what went wrong, and offer what to do: [[words, action], ...]. The reader of the screen hears it at once. */
export function showProblem({ title, detail, hints = [], status }, actions) {
  clear();
  byId("said").textContent = "";
  const list = hints.length ? [make("ul", {}, ...hints.map((hint) => make("li", {}, hint)))] : [];
  const buttons = actions.map(([words, action]) => make("button", { type: "button", onclick: action }, words));
  byId("problem").replaceChildren(
    make("h2", {}, title), make("p", {}, detail), ...list, make("div", { className: "buttons" }, ...buttons));
  show(true, "problem");
  const refused = status === 401 || (key() !== null && (status === 403 || status === 429));
  if (refused) show(true, "key-panel"); // another key may pass
}

/** Say that there is a newer publication than the one shown; `action` shows it. */
export function showNews(words, action) {
  byId("news").replaceChildren(make("span", {}, words),
    make("button", { type: "button", onclick: action }, "Show it"));
  show(true, "news");
}

/** Show an answer. */
export function showAnswer({ view, status, start, end, tally }) {
  clear();
  const { views, purchases } = tally.total;
  const share = ctr(views, purchases);
  const minutes = Number(view.aggregation);
  byId("totals").replaceChildren(
    ...term("CTR", digits(share), share === null ? "no views" : `${(share * 100).toFixed(2)} %`, "main"),
    ...term("Views", grouped(views), ""),
    ...term("Purchases", grouped(purchases), ""),
    ...term("Buckets", grouped(tally.starts.length), `of ${minutesWords(minutes)}`));
  showNotes(notesOf(status, view, start, end, tally));
  show(true, "totals", "chart-card", "table-card");
  drawChart(view, status, start, end, tally);
  const times = tally.starts.map((start) => localText(start, view.timezone));
  shown = { rows: tally.rows, times, count: tally.count, from: 0 };
  turnTo(0);
  byId("said").textContent = `${counted(tally.count, "row")} in ${counted(tally.starts.length, "bucket")}.`;
}

function term(word, value, more, kind = "") {
  return [make("div", { className: kind }, make("dt", {}, word),
    make("dd", {}, make("strong", {}, value), make("span", { className: "muted small" }, more)))];
}

function showNotes(notes) {
  byId("notes").replaceChildren(...notes.map((note) => make("li", {}, note)));
  show(notes.length > 0, "notes");
}

function drawChart(view, status, start, end, tally) {
  const { lines, hidden } = tally.lines();
  const days = new Set(missingIn(status, view.platforms, start, end).flatMap(([, some]) => some));
  const missing = [
    ...[...days].map((day) => [Date.parse(day), Date.parse(day) + DAY]), ...outside(status, view.platforms, tally.starts, end),
  ];
  const named = lines.length > 1 || view.split !== "none";
  drawn = { tally, lines: named ? lines : [], zone: view.timezone };
  const entries = drawn.lines.map((line, place) => make("li", {},
    make("span", { className: `swatch line-${place + 1}` }), name(line.name), make("span", { className: "share" })));
  if (hidden) entries.push(make("li", { className: "muted" }, `${grouped(hidden)} more with fewer views are not drawn`));
  if (missing.length) entries.push(make("li", { className: "muted" }, make("span", { className: "swatch no-data" }), "no data"));
  byId("legend").replaceChildren(...entries);
  show(entries.length > 0, "legend");
  chart ??= new Chart(byId("chart"), [byId("ctr-pane"), byId("counts-pane")], tell);
  const { starts, total } = tally;
  chart.draw({ starts, end, zone: view.timezone, step: Number(view.aggregation), lines, total, missing });
}

/**
 * Tell of the bucket at a place: its time and totals above the chart, the CTR of each line in the legend. Without one (null) the
 * legend has the CTR of the range. Who hears the page is told of the lines, too.
 */
function tell(place, empty) {
  const { tally, lines, zone } = drawn;
  const shares = lines.map((line) => {
    const { views, purchases } = place === null ? line : countsAt(line, place);
    return digits(ctr(views, purchases));
  });
  byId("legend").querySelectorAll(".share").forEach((element, number) => { element.textContent = shares[number]; });
  const each = lines.map((line, number) => `; ${line.name} ${shares[number]}`).join("");
  byId("readout").replaceChildren(...(place === null ? [] : [
    bucketWords(tally, place, zone, empty), make("span", { className: "hidden" }, empty ? "" : each)]));
}

function bucketWords(tally, place, zone, empty) {
  const time = timeWords(tally.starts[place], zone);
  if (empty) return `${time}: no data`;
  const { views, purchases } = countsAt(tally.total, place);
  return `${time}: CTR ${digits(ctr(views, purchases))}, ${counted(views, "view")}, ${counted(purchases, "purchase")}`;
}

/** Show the page of the table that begins at a row. */
function turnTo(from) {
  shown.from = from;
  const rows = shown.rows.slice(from, from + PAGE);
  byId("table").tBodies[0].replaceChildren(...rows.map((row) => make("tr", {},
    make("td", { className: "time" }, shown.times[row.place]), make("td", {}, row.platform), make("td", {}, name(row.product)),
    make("td", { className: "number" }, row.CTR === null ? "null" : row.CTR.toFixed(4)),
    make("td", { className: "number" }, String(row.views)), make("td", { className: "number" }, String(row.purchases)),
    make("td", { className: row.status }, row.status))));
  const whole = shown.count > shown.rows.length ? `; rows after ${grouped(shown.rows.length)} by download` : "";
  byId("page-said").textContent = `Rows ${grouped(from + 1)} to ${grouped(from + rows.length)} of ${grouped(shown.count)}${whole}`;
  byId("earlier").setAttribute("aria-disabled", String(from === 0)); // who cannot go on keeps the focus
  byId("later").setAttribute("aria-disabled", String(from + PAGE >= shown.rows.length));
  byId("table").parentElement.scrollTop = 0;
  show(shown.rows.length > PAGE, "earlier", "later");
}

byId("pager").addEventListener("click", ({ target }) => {
  if (target.ariaDisabled === "false") turnTo(shown.from + (target.id === "later" ? PAGE : -PAGE));
});

/** How far the data reach, by platform. */
export function showStatus(status, zone, version = null) {
  const made = `${status.dataVersion}, made ${timeWords(Date.parse(status.publishedAt), zone)} (${zone}).`;
  const words = version === null || version === String(status.dataVersion) ? `Publication ${made}`
    : `The counts are of publication ${version}; how far the data reach, and what is missing, are told of publication ${made}`;
  byId("published").textContent = `Purchases divided by product views. ${words}`;
  byId("freshness").replaceChildren(...freshness(status, zone));
  show(true, "freshness-card");
}

let requested;

/** The request of a view for copying, and its downloads. They stand also where the page itself cannot show the answer. */
export function showRequest(view) {
  requested = view;
  byId("downloads").replaceChildren(...FORMATS.map(([format, label]) => make("a", {
    className: "button", href: pathOf(view, format), download: `ctr.${format}`, "data-format": format,
    "aria-label": `Download ${label}`,
  }, label)));
  byId("download-said").textContent = "";
  writeRequest();
  show(true, "request-card");
}

function writeRequest() {
  const kind = byId("request-kinds").querySelector("input:checked").value;
  byId("request").textContent = requestText(requested, kind, key() !== null);
}

byId("request-kinds").addEventListener("change", writeRequest);
byId("copy").addEventListener("click", () => {
  writeRequest(); // a link that was marked for copying may stand there
  copy(byId("request").textContent);
});
byId("copy-link").addEventListener("click", () => copy(location.origin + addressOf(requested)));

async function copy(text) {
  let words = "Copied.";
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // plain http to another host has no clipboard: the text is marked, so that one key copies it
    byId("request").textContent = text;
    getSelection().selectAllChildren(byId("request"));
    words = "Marked: press Ctrl+C.";
  }
  byId("copy-said").textContent = words;
}

/** A download is read here and not by the browser, so that a refusal is told in words and a key can go with it. */
byId("downloads").addEventListener("click", async (event) => {
  const link = event.target.closest("a");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const say = (text) => { byId("download-said").textContent = text; };
  say(`Reading ${link.textContent} …`);
  try {
    const blob = await readBlob(link.href, undefined, (size) => say(`Reading ${link.textContent}: ${megabytes(size)}`));
    const address = URL.createObjectURL(blob);
    make("a", { href: address, download: link.download }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
    say(`${link.download}: ${megabytes(blob.size)}`);
  } catch ({ title, detail, hints = [] }) {
    say([`No download: ${title}.`, detail, ...hints].join(" "));
  }
});

const megabytes = (size) => (size < 1e5 ? `${grouped(size)} bytes` : `${(size / 1e6).toFixed(1)} MB`);
