/* Numbers of a long list, fetched in pages when these become visible.

   Only a few pages are kept, since the whole list may be gigabytes. */

import { digitsOf } from "./sequence.js";
import { getJson, reachability } from "./service.js";

const PAGE_BYTES = 256 * 1024;
const MAX_PAGE_NUMBERS = 1000; // shorter lists are fetched at once, so that all of it can be printed
const KEPT_PAGES = 48;
const SETTLE_MS = 60; // pages that are only scrolled past are not fetched

export class NumberPages {
  #start;
  #count;
  #perPage;
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
    const longest = digitsOf(start + Math.max(0, count - 1));
    this.#perPage = Math.min(MAX_PAGE_NUMBERS, Math.max(1, Math.floor(PAGE_BYTES / longest)));
    const { signal } = this.#closed;
    reachability.addEventListener("up", () => this.#fetchVisible(), { signal });
  }

  /** Return the digits of a number, or undefined if they have not been fetched. */
  digitsAt(index) {
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
    const path = `fib?start=${this.#start + first}&count=${count}`;
    try {
      const { result } = await getJson(path, { signal: controller.signal });
      this.#pages.set(page, { numbers: result });
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
