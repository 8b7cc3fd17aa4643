/** Sums the rows of an answer by bucket and line, as integers, and makes CTR of the sums. */

import { Problem } from "./api.js";
import { localText } from "./time.js";

const MOST_LINES = 8;

/** Purchases / views rounded half up to four digits, in whole numbers; null without views. */
export function ctr(views, purchases) {
  if (!views) return null;
  const [v, p] = [BigInt(views), BigInt(purchases)];
  return Number((20_000n * p + v) / (2n * v)) / 10_000;
}

/** Counts by bucket: the lines of the chart, the totals, and the first rows for the table. */
export class Tally {
  /** `zone` is that of the rows' timestamps, which name one bucket each; `keep` rows are kept, with the place of theirs. */
  constructor(starts, zone, split, keep) {
    this.starts = starts;
    this.rows = [];
    this.count = 0;
    this.provisional = 0;
    this.partial = 0;
    this.total = newLine("all together");
    this._lines = new Map();
    this._split = split;
    this._keep = keep;
    this._places = new Map(starts.map((start, place) => [localText(start, zone), place]));
  }

  /** Take one row. */
  add(row) {
    const place = this._place(row);
    this.count += 1;
    if (this.rows.length < this._keep) this.rows.push({ ...row, place });
    if (row.status !== "final") this[row.status] += 1;
    put(this.total, place, row);
    if (this._split !== "none") put(this._line(row[this._split]), place, row);
  }

  /** The lines to draw, those of most views first; `hidden` are too many for one chart. */
  lines() {
    if (this._split === "none") return { lines: [this.total], hidden: 0 };
    const all = [...this._lines.values()].sort((a, b) => b.views - a.views || (a.name < b.name ? -1 : 1));
    return { lines: all.slice(0, MOST_LINES), hidden: Math.max(0, all.length - MOST_LINES) };
  }

  /** The bucket of a row. */
  _place(row) {
    const place = this._places.get(row.timestamp);
    if (place === undefined) {
      throw new Problem("This browser cannot draw that", `It has no bucket at ${row.timestamp}, where the service has one: `
        + "its rules of time zones are older. The answer can be downloaded below.");
    }
    return place;
  }

  _line(name) {
    if (!this._lines.has(name)) this._lines.set(name, newLine(name));
    return this._lines.get(name);
  }
}

/** A line: its sums, and the counts of its buckets by place. Places without a row are zero. */
function newLine(name) {
  return { name, views: 0, purchases: 0, at: new Map() };
}

function put(line, place, row) {
  const counts = line.at.get(place);
  line.views += row.views;
  line.purchases += row.purchases;
  if (counts) {
    counts.views += row.views;
    counts.purchases += row.purchases;
  } else {
    line.at.set(place, { views: row.views, purchases: row.purchases });
  }
}

/** The counts of a line in a bucket. */
export function countsAt(line, place) {
  return line.at.get(place) ?? { views: 0, purchases: 0 };
}
