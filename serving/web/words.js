/** What the service knows about its data, in plain words: watermarks, missing days, what is not final and why. */

import { counted, make } from "./dom.js";
import { DAY, dayWords, timeWords } from "./time.js";

/** The newest instant that any platform has data of; null while there are none. */
export function newestWatermark(status) {
  const marks = status.platforms.flatMap(({ watermarks }) => [watermarks.views, watermarks.purchases])
    .filter(Boolean).map(Date.parse);
  return marks.length ? Math.max(...marks) : null;
}

/** Days as ranges: ["2016-02-01", "2016-02-02", "2016-02-05"] becomes [[first, last], ...]. */
export function runsOfDays(days) {
  const runs = [];
  for (const day of days) {
    const last = runs.at(-1);
    if (last && Date.parse(day) - Date.parse(last[1]) === DAY) last[1] = day;
    else runs.push([day, day]);
  }
  return runs;
}

/** "3 Feb 2016, 5 Feb 2016 to 7 Feb 2016" of days. */
export function daysWords(days) {
  return runsOfDays(days).map(([first, last]) => (
    first === last ? dayWords(first) : `${dayWords(first)} to ${dayWords(last)}`)).join(", ");
}

/** The missing days (UTC) that overlap a range, by platform: [[platform, days], ...]. */
export function missingIn(status, platforms, start, end) {
  return chosen(status, platforms).map(({ platform, missingDays }) => [
    platform, missingDays.filter((day) => Date.parse(day) < end && Date.parse(day) + DAY > start),
  ]).filter(([, days]) => days.length);
}

/** One sentence for all platforms that miss the same days. */
function missingWords(missing) {
  const byDays = new Map();
  for (const [platform, days] of missing) {
    const words = daysWords(days);
    byDays.set(words, [...(byDays.get(words) ?? []), platform]);
  }
  return [...byDays].map(([days, platforms]) => (
    `No view at all on ${days} (UTC) from ${list(platforms)}: shaded in the chart.`));
}

const list = (names) => new Intl.ListFormat("en").format(names);

const chosen = (status, platforms) => (
  status.platforms.filter(({ platform }) => !platforms.length || platforms.includes(platform)));

/** Notes on an answer: what is missing, provisional or cut. */
export function notesOf(status, view, start, end, tally) {
  const notes = missingWords(missingIn(status, view.platforms, start, end));
  for (const { platform, watermarks } of chosen(status, view.platforms)) {
    const known = [watermarks.views, watermarks.purchases].filter(Boolean).map(Date.parse);
    const mark = known.length === 2 ? Math.min(...known) : null;
    if (mark !== null && mark < start) {
      notes.push(`The data of ${platform} end before this range, at ${timeWords(mark, view.timezone)}.`);
    }
  }
  if (tally.provisional) {
    notes.push(`${counted(tally.provisional, "row")} provisional: later than what is known of views and purchases, so more may come.`);
  }
  if (tally.partial) {
    notes.push(`${counted(tally.partial, "row")} partial: the range cuts the bucket, or a day in it has no data.`);
  }
  if (status.problem) notes.push(`A newer publication is not served, the last good one answers: ${status.problem}`);
  return notes;
}

/** How far each platform's data reach, as a list of terms. */
export function freshness(status, zone) {
  return status.platforms.map(({ platform, watermarks, firstDay, lastDay, days, missingDays }) => make("section", {},
    make("h3", {}, platform),
    make("p", {}, `Views up to ${known(watermarks.views, zone)}, purchases up to ${known(watermarks.purchases, zone)}.`),
    make("p", { className: missingDays.length ? "warn" : "muted" }, coverage(firstDay, lastDay, days, missingDays))));
}

const known = (time, zone) => (time ? timeWords(Date.parse(time), zone) : "now unknown (none so far)");

function coverage(first, last, days, missing) {
  if (!days) return "No day has views so far.";
  const span = `${counted(days, "day")} with views from ${dayWords(first)} to ${dayWords(last)}`;
  return missing.length ? `${span}; missing: ${daysWords(missing)}.` : `${span}; no day is missing.`;
}
