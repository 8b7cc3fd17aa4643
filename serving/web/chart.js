/** Two panes over one time axis: CTR above, views (bars) and purchases (line) below. Drawn by uPlot, by hand of ours. */

import { grouped } from "./dom.js";
import { countsAt, ctr } from "./tally.js";
import { localText, DAY } from "./time.js";

const { uPlot } = window;
const LEFT = 60;
const RIGHT = 40; // both panes leave the same room, so that their times stand above each other
const DAYS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 30, 60, 90, 120, 180, 365, 730, 1825, 3650].map((days) => days * DAY / 1000);
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** The chart in the document. `told` is called with the place of the bucket under the cursor (null: none), and whether it is empty. */
export class Chart {
  constructor(root, panes, told) {
    this._root = root;
    this._panes = panes;
    this._told = told;
    this._plots = [];
    this._scene = null;
    this._at = null;
    new ResizeObserver(() => this._resize()).observe(root);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this._scene && this.draw(this._scene));
    root.addEventListener("keydown", (event) => this._key(event));
  }

  /** Draw a scene: {starts, end, zone, step in minutes, lines, total, missing: [[from, to] instants]}. */
  draw(scene) {
    this._plots.forEach((plot) => plot.destroy());
    this._scene = scene;
    this._say(null);
    const { starts, end, lines, total } = scene;
    const middles = starts.map((start, place) => (start + (starts[place + 1] ?? end)) / 2000);
    const places = starts.map((_, place) => place);
    const shares = lines.map((line) => places.map((place) => {
      const { views, purchases } = countsAt(line, place);
      return ctr(views, purchases);
    }));
    const counts = ["views", "purchases"].map((kind) => places.map((place) => (
      this._empty(place) ? null : countsAt(total, place)[kind])));
    this._plots = [
      new uPlot(this._ctrOptions(), [middles, ...shares], this._panes[0]),
      new uPlot(this._countsOptions(), [middles, ...counts], this._panes[1]),
    ];
    // the drawn numbers, for tests and for the curious in the console
    this._panes.forEach((pane, number) => { pane.plot = this._plots[number]; });
  }

  /** Whether a bucket has no row and lies where there are no data: that does not mean that nothing happened. */
  _empty(place) {
    const { starts, end, missing, total } = this._scene;
    return !total.at.has(place) && missing.some(([from, to]) => from < (starts[place + 1] ?? end) && to > starts[place]);
  }

  /** The colour of a line by its place, as the style sheet has it for light or dark. */
  colour(place) {
    return this._style(`--line-${place + 1}`);
  }

  _style(name) {
    return getComputedStyle(this._root).getPropertyValue(name).trim();
  }

  _width() {
    return Math.max(240, this._root.clientWidth);
  }

  _resize() {
    for (const plot of this._plots) {
      if (plot.width !== this._width()) plot.setSize({ width: this._width(), height: plot.height });
    }
  }

  _options(height, series, scales, axes, padding) {
    const { starts, end, zone } = this._scene;
    return {
      width: this._width(), height, padding,
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), zone),
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, sync: { key: "ctr", setSeries: false } },
      scales: { x: { time: true, range: [starts[0] / 1000, end / 1000] }, ...scales },
      axes,
      series: [{}, ...series],
      hooks: { drawClear: [(plot) => this._shade(plot)], setCursor: [(plot) => this._moved(plot)] },
    };
  }

  _axis(more) {
    const line = this._style("--grid");
    return {
      stroke: this._style("--muted"), font: "12px system-ui, sans-serif",
      grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1, size: 4 }, ...more,
    };
  }

  _times() {
    const { starts, end, step, zone } = this._scene;
    const days = step % 1440 === 0 && end - starts[0] >= DAY; // no ticks between: their hours would need a second line
    return this._axis({
      size: days ? 28 : 42, space: 64, ...(days ? { incrs: DAYS } : {}),
      values: (_, splits, __, ___, seconds) => labels(splits, seconds, zone),
    });
  }

  _ctrOptions() {
    const series = this._scene.lines.map((line, place) => ({
      label: line.name, stroke: this.colour(place), width: 2, points: points(this.colour(place)),
    }));
    const range = (_, __, max) => [0, max > 0 ? max * 1.1 : 0.01];
    const values = (_, splits) => {
      const digits = [3, 4, 5, 6].find((some) => splits.every((value) => Math.abs(Number(value.toFixed(some)) - value) < 1e-9));
      return splits.map((value) => value.toFixed(digits));
    };
    return this._options(230, series, { y: { range } }, [this._times(), this._axis({ size: LEFT, values })], [12, RIGHT, 0, 0]);
  }

  _countsOptions() {
    const [bars, line] = [this._style("--bars"), this._style("--purchases")];
    const series = [
      { label: "views", scale: "views", fill: bars, width: 0, points: { show: false }, paths: uPlot.paths.bars({ size: [0.8, 80] }) },
      { label: "purchases", scale: "purchases", stroke: line, width: 2, points: points(line) },
    ];
    const range = (_, __, max) => [0, Math.max(max, 1) * 1.1];
    const values = (_, splits) => splits.map((value) => (Number.isInteger(value) ? short(value) : ""));
    return this._options(190, series, { views: { range }, purchases: { range } }, [
      this._times(),
      this._axis({ scale: "views", size: LEFT, values }),
      this._axis({ scale: "purchases", side: 1, size: RIGHT, values, grid: { show: false } }),
    ], [12, 0, 0, 0]);
  }

  /** The times that have no data, behind everything else. */
  _shade(plot) {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.fillStyle = this._style("--missing");
    for (const [from, to] of this._scene.missing) {
      const left = Math.max(plot.valToPos(from / 1000, "x", true), bbox.left);
      const right = Math.min(plot.valToPos(to / 1000, "x", true), bbox.left + bbox.width);
      if (right > left) ctx.fillRect(left, bbox.top, right - left, bbox.height);
    }
    ctx.restore();
  }

  _moved(plot) {
    const place = plot.cursor.left < 0 ? null : plot.cursor.idx ?? null;
    if (place !== this._at) this._say(place);
  }

  /** Arrows move the cursor by one bucket, Home and End to the first and last. */
  _key(event) {
    const last = this._scene.starts.length - 1;
    const place = {
      ArrowLeft: Math.max((this._at ?? 1) - 1, 0), ArrowRight: Math.min((this._at ?? -1) + 1, last), Home: 0, End: last,
    }[event.key];
    if (place === undefined) return;
    event.preventDefault();
    for (const plot of this._plots) {
      plot.setCursor({ left: plot.valToPos(plot.data[0][place], "x"), top: 10 }, false);
    }
    this._say(place);
  }

  /** Tell of the bucket under the cursor; null: it has left the chart. */
  _say(place) {
    this._at = place;
    this._told(place, place !== null && this._empty(place));
  }
}

/** Points where a line would not be seen: all of a short one, and those that stand alone between gaps. */
function points(colour) {
  return {
    size: 6, stroke: colour, fill: colour,
    filter: (plot, series, shown) => {
      const values = plot.data[series];
      if (shown) return null;
      return values.flatMap((value, place) => (
        value != null && values[place - 1] == null && values[place + 1] == null ? [place] : []));
    },
  };
}

/** The texts of the time axis: the hour, and the day where it begins; days and months for longer steps. */
function labels(splits, step, zone) {
  let day = "";
  return splits.map((seconds) => {
    const text = localText(Math.round(seconds) * 1000, zone);
    const [, month, date] = text.slice(0, 10).split("-").map(Number);
    const words = step >= 28 * DAY / 1000 ? `${MONTHS[month - 1]}\n${text.slice(0, 4)}` : `${date} ${MONTHS[month - 1]}`;
    if (step >= DAY / 1000) return words.replace("\n", " ");
    const first = day !== text.slice(0, 10);
    day = text.slice(0, 10);
    return first ? `${text.slice(11, 16)}\n${words}` : text.slice(11, 16);
  });
}

/** A count in few signs: 950, 12k, 3.4M. */
function short(value) {
  if (value >= 1e6) return `${+(value / 1e6).toFixed(1)}M`;
  return value >= 1e4 ? `${+(value / 1e3).toFixed(1)}k` : grouped(value);
}
