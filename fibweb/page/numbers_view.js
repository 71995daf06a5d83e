/* List of numbers: a listbox with one tab stop; arrow keys move, and Enter opens a number. */

import { make } from "./dom.js";
import { NumberPages } from "./number_pages.js";
import { counted, digitsOf, grouped } from "./sequence.js";
import { VirtualRows } from "./virtual_rows.js";

const ELLIPSIS = "…";
const MIN_DIGITS = 8;
const SPOKEN_DIGITS = 10; // at either end of a long number

export class NumbersView {
  #list;
  #rows;
  #pages = null;
  #onOpen;
  #onProblem;
  #start = 0;
  #count = 0;
  #active = 0;
  #room = MIN_DIGITS;

  /** @param list the listbox
      @param onOpen (n) is called when a number is chosen
      @param onProblem (problem) is called if numbers cannot be fetched */
  constructor(list, onOpen, onProblem) {
    this.#list = list;
    this.#onOpen = onOpen;
    this.#onProblem = onProblem;
    this.#rows = new VirtualRows(
      list,
      (row, index) => this.#fill(row, index),
      (first, stop) => this.#pages?.want(first, stop),
    );
    new ResizeObserver(() => this.#measure()).observe(list);
    list.addEventListener("keydown", (event) => this.#onKey(event));
    list.addEventListener("click", (event) => this.#onClick(event));
  }

  /** Show F(start) to F(stop-1). */
  show(start, stop) {
    this.#pages?.close();
    [this.#start, this.#count, this.#active] = [start, stop - start, 0];
    const refresh = () => this.#rows.refresh();
    this.#pages = new NumberPages(start, this.#count, refresh, this.#onProblem);
    const longestName = `F(${grouped(stop)})`;
    this.#list.style.setProperty("--n-width", `${longestName.length}ch`);
    this.#list.style.setProperty(
      "--note-width",
      `${counted(digitsOf(Math.max(start, stop - 1)), "digit").length}ch`,
    );
    this.#rows.reset(this.#count);
    this.#measure();
    this.#markActive();
  }

  /** Clear the list, and stop fetching. */
  clear() {
    this.#pages?.close();
    this.#pages = null;
    this.#count = 0;
    this.#rows.reset(0);
  }

  /** Return the fetched numbers as lines of text, and how many are missing. The middle of long
      numbers is left out unless it was fetched. */
  printed() {
    const lines = [];
    for (let index = 0; index < this.#count; index += 1) {
      const number = this.#pages.numberAt(index);
      if (number) {
        lines.push(`F(${grouped(this.#start + index)}) = ${inFull(number)}`);
      }
    }
    return { lines, missing: this.#count - lines.length };
  }

  /** Activate F(n), or the nearest number of the list. */
  goTo(n) {
    this.#activate(n - this.#start);
    this.#list.focus();
  }

  /* Measure how many digits fit into a row. */
  #measure() {
    const cell = this.#list.querySelector(".value");
    if (!cell) {
      return;
    }
    const probe = make("span", "probe", "0".repeat(100));
    cell.append(probe);
    const room = Math.floor((cell.clientWidth * 100) / probe.getBoundingClientRect().width);
    probe.remove();
    if (room !== this.#room && cell.clientWidth) {
      this.#room = Math.max(MIN_DIGITS, room);
      this.#rows.refresh();
    }
  }

  #fill(row, index) {
    const n = this.#start + index;
    const number = this.#pages.numberAt(index);
    const count = number?.count ?? digitsOf(n);
    row.id = `number-${n}`;
    row.dataset.index = index;
    row.setAttribute("role", "option");
    row.setAttribute("aria-setsize", this.#count);
    row.setAttribute("aria-posinset", index + 1);
    row.setAttribute("aria-selected", index === this.#active);
    row.setAttribute("aria-label", spoken(n, number, this.#room));
    if (!row.firstChild) {
      row.append(make("span", "n"), make("span", "value"), make("span", "note"));
    }
    // The cells stay: a click is lost if its element goes while the button is down.
    const [name, digits, note] = row.children;
    name.textContent = `F(${grouped(n)})`;
    digits.textContent = number ? shortened(number, this.#room) : "";
    digits.classList.toggle("pending", !number);
    note.textContent = counted(count, "digit");
  }

  #onKey(event) {
    const steps = {
      ArrowDown: this.#active + 1,
      ArrowUp: this.#active - 1,
      PageDown: this.#active + this.#rows.pageLength,
      PageUp: this.#active - this.#rows.pageLength,
      Home: 0,
      End: this.#count - 1,
    };
    if (event.ctrlKey || event.altKey || event.metaKey) {
      return;
    }
    if (event.key in steps) {
      this.#activate(steps[event.key]);
    } else if (event.key === "Enter" || event.key === " ") {
      this.#onOpen(this.#start + this.#active);
    } else {
      return;
    }
    event.preventDefault();
  }

  #onClick(event) {
    const row = event.target.closest(".row");
    if (row) {
      this.#activate(Number(row.dataset.index));
      this.#onOpen(this.#start + this.#active);
    }
  }

  #activate(index) {
    this.#rows.elementOf(this.#active)?.setAttribute("aria-selected", false);
    this.#active = Math.min(Math.max(0, index), this.#count - 1);
    this.#rows.reveal(this.#active);
    this.#markActive();
  }

  #markActive() {
    const row = this.#rows.elementOf(this.#active);
    row?.setAttribute("aria-selected", true);
    if (row) {
      this.#list.setAttribute("aria-activedescendant", row.id);
    } else {
      this.#list.removeAttribute("aria-activedescendant");
    }
  }
}

/* The digits of a number, or as many of both ends as there is room for. */
function shortened({ count, first, last, value }, room) {
  if (value !== null && count <= room) {
    return value;
  }
  const shown = Math.min(room - 1, first.length + last.length);
  const tail = Math.floor(shown / 2);
  return first.slice(0, shown - tail) + ELLIPSIS + last.slice(last.length - tail);
}

function inFull({ count, first, last, value }) {
  return value ?? `${first}${ELLIPSIS}${last} (${counted(count, "digit")})`;
}

function spoken(n, number, room) {
  const name = `F(${grouped(n)})`;
  if (!number) {
    return `${name}, loading`;
  }
  const { count, first, last, value } = number;
  if (value !== null && count <= room) {
    return `${name}, ${value}`;
  }
  const [head, tail] = [first.slice(0, SPOKEN_DIGITS), last.slice(-SPOKEN_DIGITS)];
  return `${name}, ${counted(count, "digit")}, from ${head} to ${tail}`;
}
