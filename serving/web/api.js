/** Asks the API, and turns whatever goes wrong into a Problem that the page can tell in plain words. */

import { counted } from "./dom.js";

const KEY = "ctr-key";

/** What stands between two rows of an answer: inside a text, a bare double quote cannot occur. */
const BETWEEN = '},{"timestamp":"';

/** What the hint of a limit says of the nearest request that it lets through. */
const NEAREST = /(?:^|\s)(aggregation|endTimestamp)=([^;]+?) would pass/g;

/**
 * Something that went wrong, in words: a title, a detail, hints, the status (0: no answer came), and the parameters of
 * the nearest request that would pass, where there is one.
 */
export class Problem extends Error {
  constructor(title, detail, { hints = [], status = 0, nearest = {} } = {}) {
    super(title);
    Object.assign(this, { title, detail, hints, status, nearest });
  }
}

/** The key that is sent to this service, and to no other; null: none. */
export function key() {
  return sessionStorage.getItem(KEY);
}

/** Keep a key until the tab is closed. */
export function keepKey(text) {
  if (text) sessionStorage.setItem(KEY, text);
  else sessionStorage.removeItem(KEY);
}

/** The answer of an address, once its head is there. Raises Problem, or AbortError after an abort. */
export async function ask(path, signal) {
  let response;
  try {
    response = await fetch(path, { signal, headers: key() ? { Authorization: `Bearer ${key()}` } : {} });
  } catch (error) {
    throw cutOff(error);
  }
  if (!response.ok) throw await told(response);
  return response;
}

/** The JSON of an address. */
export async function askJson(path, signal) {
  const response = await ask(path, signal);
  try {
    return await response.json();
  } catch (error) {
    throw cutOff(error);
  }
}

/** Any error as a Problem; an abort stays what it is. What is no Problem by now is a fault of this page. */
export function asProblem(error) {
  if (error instanceof Problem || error.name === "AbortError") return error;
  console.error(error);
  return new Problem("This page failed", `It could not show the answer: ${error.message}`);
}

/** What a failed fetch or a broken body means; an abort stays what it is. */
function cutOff(error) {
  if (error.name === "AbortError") return error;
  return new Problem(
    "The service does not answer",
    `The connection to ${location.host} failed or was cut. The service may be starting anew, or this machine may be offline.`,
  );
}

/** The problem document of an answer; its status, where it has none. */
async function told(response) {
  // a proxy in between writes no problem document, or one of its own: then the status has to do
  const { title, detail, errors } = await response.json().catch(() => null) ?? {};
  const faults = Array.isArray(errors) ? errors.filter((fault) => fault?.detail) : [];
  const hints = faults.map((fault) => [
    fault.parameter ? `${fault.parameter}: ${fault.detail}` : fault.detail, ...(fault.hint ? [fault.hint] : []),
  ].join("; "));
  const wait = secondsOf(response.headers.get("Retry-After"));
  if (wait !== null) hints.push(`It can be asked again in ${counted(wait, "second")}.`);
  return new Problem(
    title ?? `The service answered ${response.status}`,
    detail ?? response.statusText,
    { hints, status: response.status, nearest: nearestOf(faults) },
  );
}

/** The seconds of a Retry-After, which may be a date; null: it says nothing. */
function secondsOf(text) {
  const seconds = /^\d+$/.test(text) ? Number(text) : Math.max(1, Math.ceil((Date.parse(text) - Date.now()) / 1000));
  return Number.isNaN(seconds) ? null : seconds;
}

function nearestOf(faults) {
  const found = faults.flatMap(({ hint }) => [...(hint ?? "").matchAll(NEAREST)]);
  // with another fault beside the limits, the nearest request is not known
  return found.length === faults.length ? Object.fromEntries(found.map(([, name, value]) => [name, value])) : {};
}

/**
 * Reads the rows of /v1/ctr while they come, a list at a time, so that a large answer neither blocks the page nor has
 * to fit into memory. `take` gets each list; false from it ends the reading. Gives the data version of the answer.
 */
export async function readRows(path, signal, take) {
  const response = await ask(path, signal);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  let more = true;
  try {
    for (let done = false; more && !done;) {
      const chunk = await reader.read().catch((error) => { throw cutOff(error); });
      done = chunk.done;
      text += chunk.value ?? "";
      const cut = done ? text.length : text.lastIndexOf(BETWEEN);
      if (cut <= 0 && !done) continue;
      more = take(rowsOf(text.slice(0, cut), done)) !== false;
      text = text.slice(cut + 1); // what follows begins with the comma
    }
  } finally {
    if (!more) await reader.cancel().catch(() => {});
  }
  return response.headers.get("X-Data-Version");
}

/** The rows of a piece of the answer, which begins with "[" or "," and ends before a "}" or, the last one, with "]". */
function rowsOf(text, last) {
  try {
    return JSON.parse(`[${text.slice(1)}${last ? "" : "}]"}`);
  } catch (error) {
    throw cutOff(error);
  }
}

/** The body of an address as a Blob, with word of how much has come. */
export async function readBlob(path, signal, progress) {
  const response = await ask(path, signal);
  const parts = [];
  let size = 0;
  try {
    for (let reader = response.body.getReader(); ;) {
      const { done, value } = await reader.read();
      if (done) break;
      parts.push(value);
      progress(size += value.length);
    }
  } catch (error) {
    throw cutOff(error);
  }
  return new Blob(parts, { type: response.headers.get("Content-Type") ?? "application/octet-stream" });
}
