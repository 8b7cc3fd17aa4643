/** What the service knows about its data, in plain words: watermarks, missing days, what is not final and why. */

import { counted, make, sentence } from "./dom.js";
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

/**
 * The parts of a range that no chosen platform reaches, as [from, to]: the buckets wholly before the first day of all, and
 * those after the newest watermark. There, too, no row does not mean that nothing happened.
 */
export function outside(status, platforms, starts, end) {
  const { before, after } = edges(chosen(status, platforms), starts, end);
  return [[starts[0], before], [after, end]].filter(([from, to]) => from < to);
}

/** Where the data of platforms begin and end among the buckets: at the start or end of the range, if they cover it. */
function edges(facts, starts, end) {
  const days = facts.map(({ firstDay }) => firstDay).filter(Boolean).map(Date.parse);
  const first = days.length ? Math.min(...days) : -Infinity;
  const last = newestWatermark({ platforms: facts }) ?? Infinity;
  return {
    before: starts.find((_, place) => (starts[place + 1] ?? end) > first) ?? end,
    after: starts.find((start) => start >= last) ?? end,
  };
}

/** One sentence for all platforms of which the same is true: of pairs of platform and fact. */
function shared(pairs, sentence) {
  const told = new Map();
  for (const [platform, fact] of pairs) told.set(fact, [...(told.get(fact) ?? []), platform]);
  return [...told].map(([fact, platforms]) => sentence(list(platforms), fact));
}

/** A sentence for each set of platforms that miss days together. */
function missingWords(missing) {
  const byPlatforms = new Map();
  for (const day of new Set(missing.flatMap(([, days]) => days))) {
    const platforms = list(missing.filter(([, days]) => days.includes(day)).map(([platform]) => platform));
    byPlatforms.set(platforms, [...(byPlatforms.get(platforms) ?? []), day]);
  }
  return [...byPlatforms].map(([platforms, days]) => (
    `Views of ${daysWords(days.sort())} (UTC) are missing from ${platforms}: shaded in the chart.`));
}

/** Where the data of platforms begin or end in a range or beside it. */
function reachWords(facts, view, starts, end) {
  const [begin, stop] = [[], []];
  for (const one of facts) {
    const { platform, firstDay, watermarks } = one;
    const { before, after } = edges([one], starts, end);
    const known = [watermarks.views, watermarks.purchases].filter(Boolean).map(Date.parse);
    const sooner = known.length === 2 ? Math.min(...known) : Infinity;
    if (before > starts[0]) begin.push([platform, `${dayWords(firstDay)} (UTC), ${before < end ? "within" : "after"} this range.`]);
    if (sooner < starts[0]) stop.push([platform, `before this range, at ${timeWords(sooner, view.timezone)}.`]);
    else if (after < end) stop.push([platform, `at ${timeWords(Math.max(...known), view.timezone)}, within this range.`]);
  }
  return [
    ...shared(begin, (platforms, when) => `The data of ${platforms} begin on ${when}`),
    ...shared(stop, (platforms, when) => `The data of ${platforms} end ${when}`),
  ];
}

const list = (names) => new Intl.ListFormat("en-GB").format(names);

const chosen = (status, platforms) => (
  status.platforms.filter(({ platform }) => !platforms.length || platforms.includes(platform)));

/** Notes on an answer: what is missing, provisional or cut. */
export function notesOf(status, view, start, end, tally) {
  const notes = missingWords(missingIn(status, view.platforms, start, end));
  notes.push(...reachWords(chosen(status, view.platforms), view, tally.starts, end));
  if (tally.provisional) {
    notes.push(`${counted(tally.provisional, "row")} provisional: later than what is known of views and purchases, so more may come.`);
  }
  if (tally.partial) {
    notes.push(`${counted(tally.partial, "row")} partial: the range cuts the bucket, or views of a day in it are missing.`);
  }
  if (status.problem) notes.push(`A newer publication is not served, the last good one answers: ${status.problem}`);
  return notes;
}

/** How far each platform's data reach, as a list of terms. */
export function freshness(status, zone) {
  return status.platforms.map(({ platform, watermarks, firstDay, lastDay, days, missingDays }) => make("section", {},
    make("h3", {}, platform),
    make("p", {}, sentence(`${reach("views", watermarks.views, zone)}, ${reach("purchases", watermarks.purchases, zone)}.`)),
    make("p", { className: missingDays.length ? "warn" : "muted" }, coverage(firstDay, lastDay, days, missingDays))));
}

const reach = (what, time, zone) => (time ? `${what} up to ${timeWords(Date.parse(time), zone)}` : `no ${what} so far`);

function coverage(first, last, days, missing) {
  if (!days) return "No day has views so far.";
  const span = `${counted(days, "day")} with views from ${dayWords(first)} to ${dayWords(last)}`;
  return missing.length ? `${span}; missing: ${daysWords(missing)}.` : `${span}; no day is missing.`;
}
