/* All digits of one number, in lines of groups of ten; only visible lines have elements. */

import { make } from "./dom.js";
import { spaced } from "./expressions.js";
import { counted, grouped } from "./sequence.js";
import { VirtualRows } from "./virtual_rows.js";

const GROUP = 10;
const GROUPS_IN_LINE = [10, 5, 2, 1]; // the most that fit; all make positions easy to count

export class DigitsView {
  #box;
  #rows;
  #digits = "";
  #marked = [0, 0]; // start, stop
  #perLine = GROUP;

  /** @param box the element that contains the lines */
  constructor(box) {
    this.#box = box;
    this.#rows = new VirtualRows(box, (row, index) => this.#fill(row, index));
    new ResizeObserver(() => this.#layOut()).observe(box);
  }

  /** Show digits; "" clears the view. */
  show(digits, name) {
    this.#digits = digits;
    this.#marked = [0, 0];
    this.#box.setAttribute("aria-label", `${name}, ${counted(digits.length, "digit")}`);
    this.#box.style.setProperty("--n-width", `${grouped(digits.length).length}ch`);
    this.#perLine = this.#fitting();
    this.#rows.reset(Math.ceil(digits.length / this.#perLine));
  }

  /** Return all digits as they are shown, in one line. */
  printed() {
    return spaced(this.#digits);
  }

  /** Mark some digits and scroll to them; a length of 0 removes the mark. */
  mark(start, length) {
    this.#marked = [start, start + length];
    const line = Math.floor(start / this.#perLine);
    if (length) {
      this.#rows.reveal(line);
    }
    this.#rows.refresh();
    if (length) {
      this.#rows.elementOf(line)?.scrollIntoView({ block: "nearest" });
    }
  }

  #layOut() {
    const perLine = this.#fitting();
    if (this.#box.clientWidth && perLine !== this.#perLine) {
      this.#perLine = perLine;
      this.#rows.reset(Math.ceil(this.#digits.length / perLine));
    }
  }

  #fitting() {
    const row = make("div", "row");
    const probe = make("span", "value", "0".repeat(10 * (GROUP + 1)));
    row.append(make("span", "n", "0"), probe);
    this.#box.append(row);
    const style = getComputedStyle(row);
    const inner = row.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    const room = inner - row.firstChild.getBoundingClientRect().width - parseFloat(style.columnGap);
    const groupWidth = probe.scrollWidth / 10;
    row.remove();
    const groups = Math.floor(room / groupWidth + 1 / (GROUP + 1)); // no space after the last
    return GROUP * (GROUPS_IN_LINE.find((count) => count <= groups) ?? 1);
  }

  #fill(row, index) {
    const from = index * this.#perLine;
    const line = this.#digits.slice(from, from + this.#perLine);
    const text = spaced(line);
    const [start, stop] = this.#marked.map((place) => inGroups(place - from, line.length));
    const value = make("span", "value", text.slice(0, start));
    if (start < stop) {
      value.append(make("mark", "", text.slice(start, stop).trimEnd()));
    }
    value.append(text.slice(Math.max(start, text.slice(0, stop).trimEnd().length)));
    row.replaceChildren(make("span", "n", grouped(from + 1)), value);
  }
}

/* Where a digit of a line is in its text with spaces. */
function inGroups(place, length) {
  const digit = Math.min(Math.max(0, place), length);
  return digit + Math.floor(digit / GROUP);
}
