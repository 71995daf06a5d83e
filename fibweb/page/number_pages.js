/* The numbers of a long list, fetched by pages as they come into view.

   A few pages are kept; the list as a whole, which may be gigabytes, never is. */

import { digitsOf } from "./sequence.js";
import { getJson, reachability } from "./service.js";

const PAGE_BYTES = 256 * 1024;
const MAX_PAGE_NUMBERS = 200;
const KEPT_PAGES = 48;
const SETTLE_MS = 60; // what is only scrolled past is not fetched

export class NumberPages {
  #start;
  #count;
  #perPage;
  #onChange;
  #onRefusal;
  #pages = new Map(); // by number of page, the one used last at the end: {numbers} or {controller}
  #visible = [0, 0];
  #timer = 0;
  #closed = new AbortController();

  /** @param start the first number's n
      @param count how many there are
      @param onChange is called when more is there
      @param onRefusal (problem) is called when the service says no for good */
  constructor(start, count, onChange, onRefusal) {
    this.#start = start;
    this.#count = count;
    this.#onChange = onChange;
    this.#onRefusal = onRefusal;
    const longest = digitsOf(start + Math.max(0, count - 1));
    this.#perPage = Math.min(MAX_PAGE_NUMBERS, Math.max(1, Math.floor(PAGE_BYTES / longest)));
    const { signal } = this.#closed;
    reachability.addEventListener("up", () => this.#fetchVisible(), { signal });
  }

  /** The digits of a number, or undefined while they are not here. */
  digitsAt(index) {
    return this.#pages.get(this.#pageOf(index))?.numbers?.[index % this.#perPage];
  }

  /** Have the numbers from first to stop-1 before long. */
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

  /** Forget everything, and cancel the requests in flight. */
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
        this.#pages.delete(page); // to the end
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
    const path = `fib?start=${this.#start + first}&count=${count}`;
    try {
      const { result } = await getJson(path, { signal: controller.signal });
      this.#pages.set(page, { numbers: result });
      this.#forgetOldest();
      this.#onChange();
    } catch (error) {
      if (error.name === "AbortError") {
        return;
      }
      this.#pages.delete(page); // asked for again when the service is back
      if (!error.isPassing) {
        this.#onRefusal(error);
      }
    }
  }

  #forgetOldest() {
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
