/** Small helpers for the document. Text is always set as text: no name from the data becomes markup. */

/** The element of an id. */
export const byId = (id) => document.getElementById(id);

/** A new element with properties, attributes (names with a dash, `role`, `for`) and children. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element && !name.includes("-")) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** A name from the data: apart from the direction of the text around it, cut where it is long, in full on pointing at it. */
export const name = (text) => make("bdi", { className: "name", title: text }, text);

/** Show or hide elements by their ids. */
export function show(shown, ...ids) {
  for (const id of ids) byId(id).hidden = !shown;
}

/** A number with separators of thousands. */
export const grouped = (number) => number.toLocaleString("en");

/** A text with a capital at its beginning. */
export const sentence = (text) => text[0].toUpperCase() + text.slice(1);

/** "1 row", "2 rows". */
export const counted = (number, noun) => `${grouped(number)} ${noun}${number === 1 ? "" : "s"}`;
