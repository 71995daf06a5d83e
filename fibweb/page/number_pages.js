/* Numbers of a long list, fetched in pages when these become visible.

   Of a list that is too large to be fetched whole, only both ends of each number are fetched: a
   page of ten million digits is a few kilobytes. Only some pages are kept. */

import { digitsOf, estimatedBytes } from "./sequence.js";
import { getJson, reachability } from "./service.js";

const WHOLE_BYTES = 256 * 1024; // a list of this size is fetched with all digits, to be printed
const MAX_PAGE_NUMBERS = 1000;
const END_DIGITS = 60; // more than fit into half a row
const PAGE_ENDS = 50; // numbers of a page with both ends of each
const KEPT_PAGES = 48;
const SETTLE_MS = 60; // pages that are only scrolled past are not fetched

/** Return whether a list is too large to be fetched with all digits. */
export function isFetchedByEnds(start, count) {
  return estimatedBytes(start, count) > WHOLE_BYTES;
}

/** Return the path of both ends of consecutive numbers. */
export function pathOfEnds(start, count) {
  return `fib?start=${start}&count=${count}&digits=${END_DIGITS}`;
}

/* A number as it is kept: how many digits it has, the first ones, the last ones, and all of them
   if they are known, or null. */

function fromDigits(value) {
  return { count: value.length, first: value, last: value, value };
}

function fromEnds({ digits, first, last }) {
  const count = Number(digits);
  const common = 2 * END_DIGITS - count; // digits at both ends
  const rest = last.slice(Math.min(common, last.length));
  return { count, first, last, value: common >= 0 ? first + rest : null };
}

export class NumberPages {
  #start;
  #count;
  #perPage;
  #byEnds;
  #onChange;
  #onProblem;
  #pages = new Map(); // page number -> {numbers} or {controller}, least recently used first
  #visible = [0, 0];
  #timer = 0;
  #closed = new AbortController();

  /** @param start n of the first number
      @param count how many numbers there are
      @param onChange is called when a page has arrived
      @param onProblem (problem) is called if a page cannot be fetched, unless it may be later */
  constructor(start, count, onChange, onProblem) {
    this.#start = start;
    this.#count = count;
    this.#onChange = onChange;
    this.#onProblem = onProblem;
    this.#byEnds = isFetchedByEnds(start, count);
    const longest = digitsOf(start + Math.max(0, count - 1));
    const fitting = Math.max(1, Math.floor(WHOLE_BYTES / longest));
    this.#perPage = this.#byEnds ? PAGE_ENDS : Math.min(MAX_PAGE_NUMBERS, fitting);
    const { signal } = this.#closed;
    reachability.addEventListener("up", () => this.#fetchVisible(), { signal });
  }

  /** Return {count, first, last, value} of a number, where the value is null if only the ends of
      its digits are known; undefined if it has not been fetched. */
  numberAt(index) {
    return this.#pages.get(this.#pageOf(index))?.numbers?.[index % this.#perPage];
  }

  /** Fetch the numbers from first to stop-1, which are visible; cancel other fetches. */
  want(first, stop) {
    this.#visible = [this.#pageOf(first), this.#pageOf(Math.max(first, stop - 1))];
    for (const [page, entry] of this.#pages) {
      if (entry.controller && !this.#isVisible(page)) {
        entry.controller.abort();
        this.#pages.delete(page);
      }
    }
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#fetchVisible(), this.#pages.size ? SETTLE_MS : 0);
  }

  /** Drop all pages, and cancel the requests in flight. */
  close() {
    this.#closed.abort();
    clearTimeout(this.#timer);
    for (const { controller } of this.#pages.values()) {
      controller?.abort();
    }
    this.#pages.clear();
  }

  #pageOf(index) {
    return Math.floor(index / this.#perPage);
  }

  #isVisible(page) {
    return this.#visible[0] <= page && page <= this.#visible[1];
  }

  #fetchVisible() {
    for (let page = this.#visible[0]; page <= this.#visible[1]; page += 1) {
      const entry = this.#pages.get(page);
      if (entry) {
        this.#pages.delete(page); // move it to the end
        this.#pages.set(page, entry);
      } else {
        this.#fetch(page);
      }
    }
  }

  async #fetch(page) {
    const controller = new AbortController();
    this.#pages.set(page, { controller });
    const first = page * this.#perPage;
    const count = Math.min(this.#perPage, this.#count - first);
    const start = this.#start + first;
    // fibweb computes the ends itself, so they do not show that a fibserver replies.
    const options = { signal: controller.signal, isAside: this.#byEnds };
    const path = this.#byEnds ? pathOfEnds(start, count) : `fib?start=${start}&count=${count}`;
    try {
      const { result } = await getJson(path, options);
      this.#pages.set(page, { numbers: result.map(this.#byEnds ? fromEnds : fromDigits) });
      this.#dropOldest();
      this.#onChange();
    } catch (error) {
      if (error.name === "AbortError") {
        return;
      }
      this.#pages.delete(page); // fetched again when the service is back
      if (!error.isTemporary) {
        this.#onProblem(error);
      }
    }
  }

  #dropOldest() {
    for (const page of this.#pages.keys()) {
      if (this.#pages.size <= KEPT_PAGES) {
        return;
      }
      if (!this.#isVisible(page)) {
        this.#pages.delete(page);
      }
    }
  }
}
