/* Result of a query: a list of numbers, one number, or the place of a number in the sequence. */

import { pathOf, spanOf, titleOf } from "./query.js";
import { DigitSearch } from "./digit_search.js";
import { DigitsView } from "./digits_view.js";
import { announce, byId, setText } from "./dom.js";
import { evaluated, magnitude, nameOf } from "./expressions.js";
import { Formats } from "./formats.js";
import { FoundView } from "./found_view.js";
import { Growth } from "./growth.js";
import { limits } from "./limits.js";
import { MAX_SHOWN_DIGITS, NumberDialog, fetchDigits } from "./number_dialog.js";
import { isFetchedByEnds, pathOfEnds } from "./number_pages.js";
import { NumbersView } from "./numbers_view.js";
import { printWith } from "./printing.js";
import { Recipes } from "./recipes.js";
import { counted, digitsOf } from "./sequence.js";
import { getJson, sizeOf } from "./service.js";
import { SingleNumber, fetchFacts } from "./single_number.js";

const LONG_LIST = 50; // lists of this length have a field to go to an n

export class Result {
  #dialog = new NumberDialog();
  #numbers;
  #digits = new DigitsView(byId("digits"));
  #search = new DigitSearch((start, length) => this.#digits.mark(start, length));
  #single = new SingleNumber();
  #found = new FoundView();
  #growth = new Growth();
  #recipes = new Recipes();
  #formats = new Formats((...choice) => this.#recipes.showNumbers(...choice));
  #query = null;
  #onAccepted;

  /** @param onAccepted (query) is called when the service has accepted a query
      @param onProblem (problem) is called if numbers of a list cannot be fetched */
  constructor(onAccepted, onProblem) {
    this.#onAccepted = onAccepted;
    this.#numbers = new NumbersView(byId("numbers"), (n) => this.#dialog.open(n), onProblem);
    printWith(() => this.#printed());
    byId("jump").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#jump(evaluated(byId("jump-to").value));
    });
  }

  /** Add commands for redis-cli.

      @param address of a fibserver for visitors */
  addRedis(address) {
    this.#recipes.addRedis(address);
  }

  #printed() {
    const { lines, missing } = this.#numbers.printed();
    const note = missing ? [`${counted(missing, "number")} more: download them.`] : [];
    return [...lines, this.#digits.printed(), ...note];
  }

  /** Show the result of a query. Throws a Problem if the service reports one. */
  async show(query, signal) {
    const show = { number: this.#showNumber, index: this.#showFound }[query.kind] ?? this.#showList;
    await show.call(this, query, signal);
    announce(`${titleOf(query)}: ${byId("result-summary").textContent}`);
  }

  /** Hide everything that depends on a result. */
  clear() {
    this.#numbers.clear();
    for (const id of ["result", "growth", "elsewhere"]) {
      byId(id).hidden = true;
    }
  }

  async #showList(query, signal) {
    const [start, stop] = spanOf(query);
    // The ends are known far beyond the limits. If these are unknown, the service checks the query.
    const { max_index: maxIndex } = await limits();
    if (stop - 1 <= maxIndex && maxIndex < Infinity && isFetchedByEnds(start, stop - start)) {
      await getJson(pathOfEnds(start, 1), { signal, isAside: true });
    } else {
      await sizeOf(pathOf(query), { signal });
    }
    this.#begin(query, summaryOfList(start, stop));
    byId("numbers").hidden = start === stop;
    byId("empty").hidden = start !== stop;
    byId("jump").hidden = stop - start < LONG_LIST;
    byId("take").hidden = false;
    this.#numbers.show(start, stop);
    this.#growth.show(start, stop);
    this.#formats.offer(query);
  }

  async #showNumber(query, signal) {
    const n = evaluated(query.number);
    const [facts, { max_index: maxIndex }] = await Promise.all([
      fetchFacts(n, { signal }),
      limits(),
    ]);
    const isComputed = Number(n) <= maxIndex;
    const isShown = isComputed && Number(facts.digits) <= MAX_SHOWN_DIGITS;
    const digits = `${magnitude(facts.digits)} digit${facts.digits === "1" ? "" : "s"}`;
    const whole = isComputed ? "too many to show, but not to download" : "too many to compute";
    this.#begin(query, isShown ? `${digits}, loading` : `${digits}: ${whole}`);
    this.#single.show(facts);
    this.#growth.show(Number(n), Number(n) + 1);
    byId("take").hidden = !isComputed;
    if (isComputed) {
      this.#formats.offer(query);
    } else {
      this.#recipes.show(`digits/${n}`, `FIB.DIGITS ${n}`);
    }
    if (isShown) {
      const text = await fetchDigits(n, { signal });
      setText(byId("result-summary"), digits);
      byId("digits").hidden = false;
      this.#digits.show(text, titleOf(query));
      this.#search.show(text);
    }
  }

  async #showFound(query, signal) {
    const found = await getJson(pathOf(query), { signal, isAside: true });
    const { length } = found.x;
    this.#begin(query, counted(length, "digit"));
    this.#found.show(found);
    const n = found.indices.at(-1) ?? found.above;
    this.#growth.show(n, n + 1);
    this.#recipes.show(pathOf(query), `FIB.INDEX ${found.x}`);
  }

  /* Clear the previous result, and show the title of the next one. */
  #begin(query, summary) {
    this.#query = query;
    this.#onAccepted(query);
    for (const id of ["numbers", "digits", "empty", "take", "jump"]) {
      byId(id).hidden = true;
    }
    for (const id of ["result", "growth", "elsewhere"]) {
      byId(id).hidden = false;
    }
    this.#formats.withdraw();
    this.#numbers.clear();
    this.#digits.show("", "Digits");
    this.#search.show("");
    this.#single.show(null);
    this.#found.show(null);
    setText(byId("jump-result"), "");
    setText(byId("result-title"), titleOf(query));
    setText(byId("result-summary"), summary);
  }

  #jump(typed) {
    const n = Number(typed);
    const [start, stop] = spanOf(this.#query);
    const isThere = /^\d+$/.test(typed) && start <= n && n < stop;
    const bounds = `This list has F(${nameOf(String(start))}) to F(${nameOf(String(stop - 1))})`;
    setText(byId("jump-result"), isThere ? "" : bounds);
    byId("jump-to").setAttribute("aria-invalid", !isThere);
    if (isThere) {
      this.#numbers.goTo(n);
    }
  }
}

function summaryOfList(start, stop) {
  if (start === stop) {
    return "Nothing to show";
  }
  const last = counted(digitsOf(stop - 1), "digit");
  return stop - start === 1 ? last : `The last has ${last}. Choose one to see it in full.`;
}
