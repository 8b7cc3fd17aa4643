/** The search for products: a combobox with a list (arrows, Enter, Escape), and the chosen ones as removable chips. */

import { askJson, asProblem } from "./api.js";
import { counted, make, byId } from "./dom.js";
import { encode } from "./view.js";

const MOST_FOUND = 20;
const TYPING_PAUSE = 150; // milliseconds without a key before the search is sent

/** The field. `changed` is called after a choice with all chosen names; `fits` tells whether so many can be asked for. */
export class Products {
  constructor(changed, fits) {
    this._changed = changed;
    this._fits = fits;
    this._chosen = [];
    this._found = [];
    this._active = -1;
    this._due = false; // whether a search has not been answered yet
    this._entered = false; // whether Enter was pressed meanwhile
    this._input = byId("search");
    this._list = byId("found");
    this._input.addEventListener("input", () => this._typed());
    this._input.addEventListener("focus", () => this._typed());
    this._input.addEventListener("blur", () => this._rest());
    this._input.addEventListener("keydown", (event) => this._key(event));
    this._list.addEventListener("mousedown", (event) => event.preventDefault()); // the field keeps the focus
    this._list.addEventListener("click", (event) => {
      const option = event.target.closest("[role=option]");
      if (option) this._choose(this._found[Number(option.dataset.place)]);
    });
  }

  /** Show these products as chosen, without calling `changed`. What was said of them stays where they are the same. */
  set(names) {
    if (names.length === this._chosen.length && names.every((name, place) => name === this._chosen[place])) return;
    this._chosen = [...names];
    byId("chosen").replaceChildren(...this._chosen.map((name) => make("li", {}, make("bdi", {}, name),
      make("button", { type: "button", "aria-label": `Remove ${name}`, onclick: () => this._remove(name) }, "×"))));
    this._sayChosen();
  }

  _sayChosen() {
    this._say(this._chosen.length ? "" : "All products");
  }

  _say(text) {
    byId("products-said").textContent = text;
  }

  _choose(name) {
    if (name === undefined) return;
    this._input.value = "";
    this._close();
    if (this._chosen.includes(name)) return;
    if (!this._fits([...this._chosen, name])) {
      this._say("The address of a view has no room for one more product; the API takes more by POST.");
      return;
    }
    this.set([...this._chosen, name]);
    this._changed(this._chosen);
    this._say(`${name} chosen`);
  }

  _remove(name) {
    this.set(this._chosen.filter((one) => one !== name));
    this._input.focus();
    this._close();
    this._changed(this._chosen);
  }

  /** What was found before is no answer to what the field says now. */
  _typed() {
    this._close();
    this._due = true;
    this._timer = setTimeout(() => this._look(), TYPING_PAUSE);
  }

  async _look() {
    const search = this._input.value.trim();
    this._search = new AbortController();
    try {
      const path = `/v1/products?${encode([["search", search], ["limit", String(MOST_FOUND)]])}`;
      this._open(await askJson(path, this._search.signal), search);
    } catch (error) {
      const problem = asProblem(error);
      if (problem.name === "AbortError") return;
      this._close();
      this._say(`${problem.title}. ${problem.detail}`);
    }
  }

  _open(names, search) {
    if (document.activeElement !== this._input) return;
    this._due = false;
    this._found = names;
    this._list.replaceChildren(...names.map((name, place) => make("li", {
      role: "option", id: `product-${place}`, "aria-selected": "false", "data-place": place,
    }, make("bdi", {}, name))));
    this._list.hidden = !names.length;
    this._input.setAttribute("aria-expanded", String(names.length > 0));
    this._input.removeAttribute("aria-activedescendant");
    const more = names.length === MOST_FOUND ? `The first ${MOST_FOUND}; type on to narrow them.` : "";
    this._say(names.length ? more || `${counted(names.length, "product")} found` : `No product contains “${search}”.`);
    if (this._entered) this._choose(this._best());
  }

  _close() {
    clearTimeout(this._timer);
    this._search?.abort();
    this._due = false;
    this._entered = false;
    this._found = [];
    this._list.replaceChildren();
    this._list.hidden = true;
    this._input.setAttribute("aria-expanded", "false");
    this._input.removeAttribute("aria-activedescendant");
    this._active = -1;
  }

  /** Nothing is looked for any more: what was said of it goes with the list. */
  _rest() {
    this._close();
    this._sayChosen();
  }

  /** The product that Enter chooses: the one that the arrows point at, or that is named in full, or the first. */
  _best() {
    const search = this._input.value.trim();
    return this._found[this._active] ?? (this._found.includes(search) ? search : this._found[0]);
  }

  _key(event) {
    const open = !this._list.hidden;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (open) this._move(event.key === "ArrowDown" ? 1 : -1);
      else this._typed();
    } else if (event.key === "Enter" && this._active < 0 && !this._input.value.trim()) {
      this._rest(); // nobody asked for one of the list: Enter sends the form
    } else if (event.key === "Enter") {
      event.preventDefault(); // Enter chooses here; it does not send the form
      if (open) this._choose(this._best());
      else this._entered = this._due; // the answer to what was typed is still to come, and chosen from when it has
    } else if (event.key === "Escape" && (open || this._due)) {
      this._close();
    } else if (event.key === "Backspace" && !this._input.value && this._chosen.length) {
      this._remove(this._chosen.at(-1));
    }
  }

  _move(step) {
    const options = [...this._list.children];
    options[this._active]?.setAttribute("aria-selected", "false");
    const from = this._active < 0 && step < 0 ? 0 : this._active;
    this._active = (from + step + options.length) % options.length;
    const option = options[this._active];
    option.setAttribute("aria-selected", "true");
    option.scrollIntoView({ block: "nearest" });
    this._input.setAttribute("aria-activedescendant", option.id);
  }
}
