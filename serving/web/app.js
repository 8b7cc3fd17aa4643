/**
 * The explorer. A view (view.js) stands in the address; each change of the controls is a new address, so that links and
 * the back button work. A view is asked for (api.js), summed (tally.js) and shown (results.js, chart.js, words.js).
 */

import { ask, askJson, asProblem, keepKey, Problem, readRows } from "./api.js";
import { Controls } from "./controls.js";
import { byId, counted, grouped, sentence, show } from "./dom.js";
import { pathOf, readingOf } from "./request.js";
import { clear, rest, showAnswer, showNews, showProblem, showRequest, showStatus } from "./results.js";
import { Tally } from "./tally.js";
import { bucketStarts, isZone, MINUTE, minutesWords, parseTime, ZONES } from "./time.js";
import { addressOf, firstView, lastDays, viewOf } from "./view.js";
import { newestWatermark } from "./words.js";

const MOST_BUCKETS = 3_000; // more points than a screen has columns say nothing
const MOST_ROWS = 500_000;
const KEPT_ROWS = 20_000; // for the table; all rows are summed
const MOST_TRIES = 5; // until rows and status are of one publication
const TRY_AGAIN = 300; // milliseconds, the second time twice as many: workers look for a new publication each second
const LOOK_AGAIN = 60_000; // milliseconds between two looks for a newer publication
const STEPS = [1, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 10080, 43200, 525600];

let status = null;
let platforms = [];
let asked = null; // the query of the address that was loaded last
let reading = new AbortController();
const watermark = () => (status ? newestWatermark(status) : null);
const controls = new Controls(go, watermark);

/** The view that the address asks for. */
const here = () => viewOf(location.search, platforms);

/** Ask anew for what the address says. */
function again() {
  if (status && here()) load(here());
  else open();
}

/** Show a view under an address of its own; null: nothing is known yet, so ask for that again. */
function go(view) {
  if (!view) {
    open();
    return;
  }
  const address = addressOf(view);
  if (address !== location.pathname + location.search) history.pushState(null, "", address);
  load(view);
}

/** Learn what there is, then show what the address asks for. */
async function open() {
  const signal = begin();
  clear();
  show(true, "loading");
  try {
    platforms = await askJson("/v1/platforms", signal);
    status = await askJson("/v1/status", signal);
    controls.setPlatforms(platforms);
  } catch (error) {
    const problem = asProblem(error);
    if (problem.name === "AbortError") return;
    showProblem(problem, [["Try again", again]]);
    busy(false);
    return;
  }
  const view = here() ?? (watermark() === null ? null : firstView(watermark()));
  if (view) {
    history.replaceState(null, "", addressOf(view));
    load(view);
  } else {
    showStatus(status, "UTC");
    showProblem(new Problem("There are no data yet",
      "The newest publication has neither views nor purchases. Once a run has loaded some, they can be seen here."),
    [["Look again", again]]);
    busy(false);
  }
}

const busy = (is) => byId("results").setAttribute("aria-busy", String(is));

/** Give up what is being read, for something else; gives the signal that this is given up by. */
function begin() {
  reading.abort();
  reading = new AbortController();
  busy(true);
  rest();
  return reading.signal;
}

async function load(view) {
  const signal = begin();
  asked = location.search;
  controls.set(view);
  showRequest(view);
  try {
    const answer = await answerTo(view, signal);
    if (signal.aborted) return;
    status = answer.status;
    showStatus(status, view.timezone, answer.version);
    if (answer.tally.count) showAnswer(answer);
    else showProblem(nothingFound(view), [newest(view), ...fromOlder(view)]);
    if (view.asOf && answer.version !== null && Number(answer.version) < status.dataVersion) {
      showNews(`Publication ${answer.version} is shown, as the address asks; the newest is ${status.dataVersion}.`, showNewest);
    }
  } catch (error) {
    const problem = asProblem(error);
    if (problem.name === "AbortError") return;
    showProblem(problem, wayOut(view, problem.nearest));
  }
  busy(false);
}

/** Tell of a newer publication, while somebody looks and nothing is being read. */
async function lookForNews() {
  if (document.hidden || !status || !here() || byId("results").getAttribute("aria-busy") === "true") return;
  const shown = status.dataVersion;
  try {
    const { dataVersion } = await askJson("/v1/status");
    if (status.dataVersion === shown && dataVersion !== shown) showNews(`Publication ${dataVersion} is there.`, showNewest);
  } catch (error) {
    console.info(`no look for a newer publication: ${error.detail}`); // what is shown stays true; the next request will tell
  }
}

/** Show the newest publication, also where the address asks for another. */
function showNewest() {
  if (here().asOf) go({ ...here(), asOf: "" });
  else again();
}

/** The way from a publication that the address asks for to the newest. */
const fromOlder = (view) => (view.asOf ? [["Show the newest publication", showNewest]] : []);

/** The way from a range without data to one that has some, if there is any. */
function newest(view) {
  if (watermark() === null) return ["Look again", again];
  return ["Show the newest 7 days", () => go({ ...view, ...lastDays(7, watermark(), view.timezone) })];
}

/** What a reader can do about a problem: take the nearest request that would pass, or ask again. */
function wayOut(view, { aggregation, endTimestamp }) {
  if (!aggregation && !endTimestamp) return [["Try again", again], ...fromOlder(view)];
  const words = [
    ...(aggregation ? [`use steps of ${minutesWords(Number(aggregation))}`] : []),
    ...(endTimestamp ? [`end at ${endTimestamp}`] : []),
  ].join(" and ");
  const nearest = { ...view, aggregation: aggregation ?? view.aggregation, end: endTimestamp ?? view.end };
  return [[sentence(words), () => go(nearest)], ...fromOlder(view)];
}

/** The answer to a view, summed. Raises Problem: the service's own, or that there is more than a chart can show. */
async function answerTo(view, signal) {
  const [start, end] = [parseTime(view.start, view.timezone), parseTime(view.end, view.timezone)];
  const minutes = Number(view.aggregation);
  if (start === null || end === null || start >= end || !Number.isInteger(minutes) || minutes < 1) {
    await askJson(pathOf(view), signal); // the service says best what is wrong with it
    throw new Problem("This browser cannot draw that", isZone(view.timezone)
      ? "The service has an answer: it can be downloaded below." : `It does not know the time zone ${view.timezone}.`);
  }
  refuseFiner(start, end, minutes);
  if (!ZONES.includes(view.timezone)) await (await ask(pathOf(view), signal)).body.cancel(); // does the service know it, too?
  const { path, zone } = readingOf(view, start, end);
  const read = async () => {
    const tally = new Tally(bucketStarts(start, end, minutes, view.timezone), zone, view.split, KEPT_ROWS);
    const version = await readRows(path, signal, (rows) => {
      rows.forEach((row) => tally.add(row));
      byId("said").textContent = `Reading: ${counted(tally.count, "row")} so far.`;
      return tally.count <= MOST_ROWS;
    });
    if (tally.count > MOST_ROWS) throw tooManyRows(end - start, minutes);
    return { tally, version };
  };
  try {
    return { view, start, end, ...await ofOnePublication(read, view.asOf, signal) };
  } catch (error) {
    if (error.status === 422 && path !== pathOf(view)) await askJson(pathOf(view), signal); // the same refusal in local times
    throw error;
  }
}

/**
 * Rows, the number of their publication, and a status of the same one. Something was published in between, or two workers
 * answered of which one does not have it yet: what is older is asked for again, a few times. A publication that the address asks
 * for has no status of its own.
 */
async function ofOnePublication(read, asOf, signal) {
  let [known, rows] = await Promise.all([askJson("/v1/status", signal), read()]);
  for (let tries = asOf ? MOST_TRIES : 0; tries < MOST_TRIES && differ(known, rows); tries += 1) {
    await new Promise((resolve) => { setTimeout(resolve, tries * TRY_AGAIN); });
    if (known.dataVersion > Number(rows.version)) rows = await read();
    else known = await askJson("/v1/status", signal);
  }
  return { status: known, ...rows };
}

/** Whether a status is of another publication than rows; where a proxy took the number away, nobody knows. */
function differ(known, { version }) {
  return version !== null && String(known.dataVersion) !== version;
}

/** Raises Problem where a range has more buckets than a chart can show, with the nearest step that it can. */
function refuseFiner(start, end, minutes) {
  const buckets = Math.ceil((end - start) / (minutes * MINUTE));
  if (buckets <= MOST_BUCKETS) return;
  throw tooMuch(
    `Steps of ${minutesWords(minutes)} make ${grouped(buckets)} buckets of this range; a chart can show ${grouped(MOST_BUCKETS)}.`,
    STEPS.find((step) => (end - start) / (step * MINUTE) <= MOST_BUCKETS));
}

function tooManyRows(length, minutes) {
  const coarser = STEPS.find((step) => step >= minutes * 4 && step * MINUTE <= length);
  return tooMuch(`The answer has more than ${grouped(MOST_ROWS)} rows: choose products, or a coarser step.`, coarser);
}

function tooMuch(detail, aggregation) {
  const nearest = aggregation ? { aggregation: String(aggregation) } : {};
  return new Problem("Too much for a chart", `${detail} A download takes more, up to the limits of the service.`, { nearest });
}

function nothingFound(view) {
  const of = view.products.length ? ` of ${view.products.join(", ")}` : "";
  return new Problem("Nothing in this range", `There is no view and no purchase${of} from ${view.start} to ${view.end} (${view.timezone}).`);
}

setInterval(lookForNews, LOOK_AGAIN);
addEventListener("popstate", () => {
  if (location.search !== asked) again(); // a link within the page asks for nothing
});
byId("key-panel").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = byId("key").value.trim();
  const odd = /[^ -~]/u.exec(text); // a header cannot carry it
  byId("key-said").textContent = odd ? `A key has only letters, digits and signs of ASCII, but “${odd[0]}” `
    + `(U+${odd[0].codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}) is in this one: copy it again.` : "";
  if (odd) return;
  keepKey(text);
  open();
});
open();
