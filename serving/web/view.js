/**
 * What the page shows, as one plain object, and its form in the address: the names are the API's own, plus `split`.
 * A view: {start, end: local texts, aggregation: text, timezone, platforms: [], products: [], split, asOf}.
 * Empty lists: all. asOf: the number of a publication; "": the newest.
 */

import { DAY, localText, nextMidnight, toInstant, offsetAt } from "./time.js";

export const SPLITS = ["none", "platform", "product"];

/**
 * The view that an address asks for; null where it names no range. Platforms, which the API takes in any case, are spelt as in
 * `known`; others stay as they are, so that the service tells.
 */
export function viewOf(search, known = []) {
  const given = new URLSearchParams(search);
  if (!given.has("startTimestamp") || !given.has("endTimestamp")) return null;
  const split = given.get("split");
  return {
    start: timeOf(given.get("startTimestamp")),
    end: timeOf(given.get("endTimestamp")),
    aggregation: given.get("aggregation") ?? "1440",
    timezone: given.get("timezone") ?? "UTC",
    platforms: [...new Set(given.getAll("platform").map((name) => known.find((one) => sameName(one, name)) ?? name))],
    products: given.getAll("product"),
    split: SPLITS.includes(split) ? split : "none",
    asOf: given.get("asOf") ?? "",
  };
}

/** A time of an address; unescaped, the plus of an offset means a space (serving/request/times.py). */
const timeOf = (text) => text.replace("T", " ").replace(/(\d{2}:\d{2}) (?=\d{2}(:?\d{2})?$)/, "$1+");

const sameName = (one, other) => one.toLowerCase() === other.toLowerCase();

/** The address of a view. */
export function addressOf(view) {
  const split = view.split === "none" ? [] : [["split", view.split]];
  return `/?${encode([...parametersOf(view), ...split])}`;
}

/** The parameters of the API for a view, as pairs. */
export function parametersOf(view) {
  return [
    ["startTimestamp", view.start],
    ["endTimestamp", view.end],
    ["aggregation", view.aggregation],
    ...view.platforms.map((platform) => ["platform", platform]),
    ...view.products.map((product) => ["product", product]),
    ...(view.timezone === "UTC" ? [] : [["timezone", view.timezone]]),
    ...(view.asOf ? [["asOf", view.asOf]] : []),
  ];
}

/** Pairs as a query string that people can read and a shell can quote. */
export function encode(pairs) {
  const safe = (text) => encodeURIComponent(text).replace(/[!'()*]/g, (sign) => `%${sign.charCodeAt(0).toString(16)}`)
    .replaceAll("%3A", ":").replaceAll("%2F", "/");
  return pairs.map(([name, value]) => `${safe(name)}=${safe(value)}`).join("&");
}

/** The last so many calendar days of the zone, the day of the watermark included, as {start, end} in local texts. */
export function lastDays(days, watermark, zone) {
  const end = nextMidnight(watermark - 1, zone);
  const start = toInstant(end + offsetAt(end, zone) - days * DAY, zone);
  return { start: localText(start, zone), end: localText(end, zone) };
}

/** The view that the page opens with: a week by day, all platforms and products. */
export function firstView(watermark) {
  return {
    ...lastDays(7, watermark, "UTC"),
    aggregation: "1440", timezone: "UTC", platforms: [], products: [], split: "none", asOf: "",
  };
}
