/** The form: shows a view, and gives the view that its fields say. */

import { byId, make, show } from "./dom.js";
import { Products } from "./products.js";
import { pathOf } from "./request.js";
import { isZone, localText, parseTime, ZONES } from "./time.js";
import { lastDays } from "./view.js";

const STEPS = [...byId("step").options].map((option) => option.value).filter((value) => value !== "other");

/** On a narrow screen the results come first and the controls are folded. */
const narrow = matchMedia("(max-width: 56rem)");
const fold = () => { byId("choose").open = !narrow.matches; };
narrow.addEventListener("change", fold);
fold();

/**
 * The controls. `changed` is called with the new view (null: none is known yet), `watermark` gives the instant that the presets
 * end by.
 */
export class Controls {
  constructor(changed, watermark) {
    this._changed = changed;
    this._watermark = watermark;
    this._view = null;
    this._products = new Products((products) => this._take({ products }), (products) => fits({ ...this._view, products }));
    byId("zones").replaceChildren(...ZONES.map((zone) => make("option", { value: zone })));
    byId("controls").addEventListener("submit", (event) => {
      event.preventDefault();
      this._take({}, true);
    });
    byId("presets").addEventListener("click", ({ target }) => target.dataset.days && this._preset(Number(target.dataset.days)));
    for (const id of ["from", "to", "zone", "minutes"]) {
      byId(id).addEventListener("blur", () => this._left()); // while a date is typed, each digit would be a change
    }
    byId("step").addEventListener("change", () => this._step());
    byId("split").addEventListener("change", () => this._take({}));
    byId("platforms").addEventListener("change", () => this._take({}));
  }

  /** The platforms that can be asked for. */
  setPlatforms(names) {
    byId("platforms").replaceChildren(...names.map((name) => make("label", {},
      make("input", { type: "checkbox", value: name }), name)));
  }

  /** Show a view. */
  set(view) {
    this._view = view;
    byId("from").value = inputOf(view.start, view.timezone);
    byId("to").value = inputOf(view.end, view.timezone);
    byId("zone").value = view.timezone;
    byId("step").value = STEPS.includes(view.aggregation) ? view.aggregation : "other";
    byId("minutes").value = view.aggregation;
    show(byId("step").value === "other", "minutes-field");
    byId("split").value = view.split;
    for (const box of byId("platforms").querySelectorAll("input")) {
      box.checked = !view.platforms.length || view.platforms.includes(box.value);
    }
    this._products.set(view.products);
    byId("view-said").textContent = [["from", view.start], ["to", view.end]]
      .map(([id, text]) => (byId(id).value || text).slice(0, 10)).join(" to ");
  }

  _read() {
    const boxes = [...byId("platforms").querySelectorAll("input")];
    const checked = boxes.filter((box) => box.checked).map((box) => box.value);
    const step = byId("step").value;
    return {
      start: this._time("from", this._view.start),
      end: this._time("to", this._view.end),
      aggregation: step === "other" ? byId("minutes").value.trim() : step,
      timezone: byId("zone").value.trim() || "UTC",
      platforms: checked.length === boxes.length ? [] : checked, // none checked asks for all: there is no empty answer to want
      products: this._view.products,
      split: byId("split").value,
      asOf: this._view.asOf,
    };
  }

  /** The time of a field; where that is the time shown, or no whole date, as the view has it: perhaps with an offset. */
  _time(id, shown) {
    const { timezone } = this._view;
    const text = textOf(byId(id).value);
    const same = parseTime(shown, timezone) !== null && text === textOf(inputOf(shown, timezone));
    return !text || same ? shown : text;
  }

  _take(more, again = false) {
    if (!this._view) {
      if (again) this._changed(null);
      return;
    }
    const view = { ...this._read(), ...more };
    if (again || JSON.stringify(view) !== JSON.stringify(this._view)) this._changed(view);
  }

  /** A field was left: take what it says; what is no whole date becomes again what is shown. */
  _left() {
    this._take({});
    if (!this._view) return;
    byId("from").value ||= inputOf(this._view.start, this._view.timezone);
    byId("to").value ||= inputOf(this._view.end, this._view.timezone);
  }

  _preset(days) {
    const watermark = this._watermark();
    if (watermark === null || !this._view) {
      this._changed(null);
      return;
    }
    const timezone = isZone(this._view.timezone) ? this._view.timezone : "UTC";
    this._take({ ...lastDays(days, watermark, timezone), timezone, aggregation: days === 1 ? "60" : "1440" });
  }

  _step() {
    const other = byId("step").value === "other";
    show(other, "minutes-field");
    if (other) byId("minutes").focus();
    else this._take({});
  }
}

/** Whether the service takes the addresses of a view; some room is left for a longer zone, or a line for each platform. */
const fits = (view) => pathOf(view, "parquet").length + 100 <= Number(document.documentElement.dataset.urlBytes);

/** A time of the API as a date field takes it: by the clocks of the zone, or of UTC where it is no zone; "" for no time. */
function inputOf(text, zone) {
  const clocks = isZone(zone) ? zone : "UTC";
  const instant = parseTime(/^\d{4}-\d{2}-\d{2}$/.test(text) ? `${text} 00:00` : text, clocks);
  return instant === null ? "" : localText(instant, clocks).replace(" ", "T");
}

/** The text of a date field as the API writes times. */
function textOf(value) {
  const text = value.replace("T", " ");
  return text.length === 16 ? `${text}:00` : text.slice(0, 19);
}
