/**
 * Times of a zone. Instants are milliseconds since 1970 (UTC); local texts are "2016-01-03 13:55:00" by the zone's clocks.
 * The rules are those of the service (serving/request/times.py, serving/query/plan.py), so that buckets stand where its rows say.
 */

export const MINUTE = 60_000;
export const DAY = 86_400_000;

/** The zones that a reader may choose; services and browsers know more, under other names. */
export const ZONES = ["UTC", ...Intl.supportedValuesOf("timeZone")];

const FIRST = Date.UTC(2000); // no time of the lake lies before it
const LAST = Date.UTC(2100); // nor after it
const TIME = /^(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2})(:\d{2})?(?:\s?(Z|z|[+-]\d{2}(?::?\d{2})?))?$/;
const formats = new Map();

/** Whether this browser knows the zone. */
export function isZone(zone) {
  try {
    formatOf(zone);
    return true;
  } catch {
    return false;
  }
}

function formatOf(zone) {
  if (!formats.has(zone)) {
    formats.set(zone, new Intl.DateTimeFormat("en-US-u-ca-gregory-nu-latn", {
      timeZone: zone, hourCycle: "h23", year: "numeric", month: "numeric", day: "numeric",
      hour: "numeric", minute: "numeric", second: "numeric",
    }));
  }
  return formats.get(zone);
}

/** Milliseconds that the clocks of the zone are ahead of UTC at an instant of whole seconds. */
export function offsetAt(instant, zone) {
  if (zone === "UTC") return 0;
  const part = {};
  for (const { type, value } of formatOf(zone).formatToParts(instant)) part[type] = Number(value);
  return Date.UTC(part.year, part.month - 1, part.day, part.hour, part.minute, part.second) - instant;
}

/** What the clocks of the zone show at an instant. */
export function localText(instant, zone) {
  return new Date(instant + offsetAt(instant, zone)).toISOString().slice(0, 19).replace("T", " ");
}

/** The instant of a local time: the first of two; in a gap, as if the clocks had not been put forward yet. */
export function toInstant(local, zone) {
  const before = local - offsetAt(local - DAY, zone);
  const offset = offsetAt(before, zone);
  if (local - before === offset) return before;
  const after = local - offset;
  return offsetAt(after, zone) === offset ? after : before;
}

/** The instant that a text names; without an offset it is read in the zone. null: the service would refuse it. */
export function parseTime(text, zone) {
  const match = TIME.exec(text);
  if (!match || !isZone(zone)) return null;
  const [, date, time, seconds = ":00", offset] = match;
  const local = Date.parse(`${date}T${time}${seconds}Z`);
  // a day that a month does not have, or the hour 24, would become another day
  if (Number.isNaN(local) || localText(local, "UTC") !== `${date} ${time}${seconds}`) return null;
  if (local < FIRST - DAY || local > LAST + DAY) return null;
  const instant = offset ? local - aheadOf(offset) : toInstant(local, zone);
  if (!offset && instant + offsetAt(instant, zone) !== local) return null; // clocks are put forward over it
  return instant >= FIRST && instant <= LAST ? instant : null;
}

/** Milliseconds that an offset such as Z, +01, -0330 or +05:30 is ahead of UTC; NaN: there is none. */
function aheadOf(offset) {
  if (offset.toUpperCase() === "Z") return 0;
  const [hours, minutes] = [Number(offset.slice(1, 3)), Number(offset.slice(3).replace(":", ""))];
  if (hours > 23 || minutes > 59) return NaN;
  return (offset[0] === "-" ? -1 : 1) * (hours * 60 + minutes) * MINUTE;
}

/** The starts of the buckets of a range; multiples of a day are calendar days, where the zone is not UTC. */
export function bucketStarts(start, end, minutes, zone) {
  const calendar = zone !== "UTC" && minutes % 1440 === 0;
  const local = start + offsetAt(start, zone);
  const starts = [];
  let number = 0;
  for (let edge = start; edge < end;) {
    starts.push(edge);
    const last = edge;
    while (edge <= last) { // a zone that crossed the date line left a whole day out: that day is no bucket
      number += 1;
      const ahead = number * minutes * MINUTE;
      if (start + ahead > end + 2 * DAY) edge = end; // beyond it in any zone, and perhaps beyond all dates
      else edge = calendar ? toInstant(local + ahead, zone) : start + ahead;
    }
  }
  return starts;
}

/** The first instant of the day, by the clocks of the zone, that comes after an instant. */
export function nextMidnight(instant, zone) {
  const local = instant + offsetAt(instant, zone);
  return toInstant((Math.floor(local / DAY) + 1) * DAY, zone);
}

/** "3 Feb 2016" of a local text or a date. */
export function dayWords(text) {
  return new Date(`${text.slice(0, 10)}T00:00:00Z`).toLocaleDateString("en-GB", {
    timeZone: "UTC", day: "numeric", month: "short", year: "numeric",
  });
}

/** "3 Feb 2016 13:55" of an instant. */
export function timeWords(instant, zone) {
  const text = localText(instant, zone);
  return `${dayWords(text)} ${text.slice(11, text.endsWith(":00") ? 16 : 19)}`;
}

/** "45 minutes", "6 hours", "1 day": the length of a bucket in words. */
export function minutesWords(minutes) {
  const [count, unit] = minutes % 10080 === 0 ? [minutes / 10080, "week"]
    : minutes % 1440 === 0 ? [minutes / 1440, "day"]
      : minutes % 60 === 0 ? [minutes / 60, "hour"] : [minutes, "minute"];
  return `${count.toLocaleString("en")} ${unit}${count === 1 ? "" : "s"}`;
}
