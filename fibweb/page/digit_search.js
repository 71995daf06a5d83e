/* Search within the digits of one number. */

import { byId, setText } from "./dom.js";
import { cleaned } from "./expressions.js";
import { grouped } from "./sequence.js";

export class DigitSearch {
  #digits = "";
  #places = [];
  #current = 0;
  #onPlace;

  /** @param onPlace (start, length) is called to show an occurrence, or none if length is 0 */
  constructor(onPlace) {
    this.#onPlace = onPlace;
    byId("search-digits").addEventListener("input", () => this.#search());
    byId("search").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#step(1);
    });
    byId("search-back").addEventListener("click", () => this.#step(-1));
  }

  /** Search in other digits; none hides the form. */
  show(digits) {
    this.#digits = digits;
    byId("search").hidden = !digits;
    byId("search-digits").value = "";
    this.#search();
  }

  #search() {
    const wanted = cleaned(byId("search-digits").value);
    this.#places = wanted ? occurrences(this.#digits, wanted) : [];
    this.#current = 0;
    this.#show();
  }

  #step(by) {
    const count = this.#places.length;
    this.#current = count ? (this.#current + by + count) % count : 0;
    this.#show();
  }

  #show() {
    const wanted = cleaned(byId("search-digits").value);
    const count = this.#places.length;
    byId("search-next").disabled = byId("search-back").disabled = count < 2;
    if (!count) {
      setText(byId("search-result"), wanted ? "Not among them" : "");
      this.#onPlace(0, 0);
      return;
    }
    const place = this.#places[this.#current];
    const which = count > 1 ? `, ${grouped(this.#current + 1)} of ${grouped(count)}` : ", once";
    setText(byId("search-result"), `From digit ${grouped(place + 1)}${which}`);
    this.#onPlace(place, wanted.length);
  }
}

/** Return the positions of all occurrences, including overlapping ones. */
export function occurrences(digits, wanted) {
  const places = [];
  for (let at = digits.indexOf(wanted); at >= 0; at = digits.indexOf(wanted, at + 1)) {
    places.push(at);
  }
  return places;
}
