/* One number F(n), n < 10^1000: its length, first and last digits, remainders and neighbours.

   The service computes these without F(n) itself. */

import { pathOf, toSearch } from "./query.js";
import { copyFrom } from "./clipboard.js";
import { byId, make, setText } from "./dom.js";
import { evaluated, exactly, nameOf, shortened, spaced } from "./expressions.js";
import { grouped, neighbours } from "./sequence.js";
import { getJson } from "./service.js";

const END_DIGITS = 50;
const MAX_N = 10n ** 1000n - 1n;
const MAX_VALUE_INDEX = 60;
const SETTLE_MS = 250; // a modulus is not requested while it is typed

/** Return the address of the page for F(n). */
export function numberLink(digits) {
  return toSearch({ kind: "number", number: shortened(digits) });
}

/** Return the address of the page that finds a number among the Fibonacci numbers. */
export function findLink(digits) {
  return toSearch({ kind: "index", x: shortened(digits) });
}

/** Make a link to F(n), with its value if that is short. */
export function linkToNumber(n) {
  const link = make("a", "", `F(${grouped(n)})`);
  link.href = numberLink(String(n));
  return n <= MAX_VALUE_INDEX ? [link, ` = ${grouped(neighbours(n)[0])}`] : [link];
}

/** Return where a number lies among the Fibonacci numbers: text and links that follow "it". */
export function relation({ indices, below, above }) {
  if (!indices.length) {
    return ["lies between ", ...linkToNumber(below), " and ", ...linkToNumber(above)];
  }
  const links = indices.flatMap((n) => [" and ", linkToNumber(n)[0]]).slice(1);
  return ["is ", ...links];
}

/** Fetch the length and the first and last digits of F(n). */
export async function fetchFacts(n, options) {
  const ends = `digits/${encodeURIComponent(n)}?first=${END_DIGITS}&last=${END_DIGITS}`;
  return getJson(ends, { ...options, isAside: true });
}

export class SingleNumber {
  #n = null;
  #controller = new AbortController();
  #timer = 0;

  constructor() {
    byId("modulus").addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#showRemainder(), SETTLE_MS);
    });
    byId("copy-link").addEventListener("click", (event) => {
      copyFrom(event.currentTarget, Promise.resolve(byId("permanent").href));
    });
  }

  /** Show a number.

      @param facts the document of /digits; null clears the view */
  show(facts) {
    this.#controller.abort();
    this.#controller = new AbortController();
    byId("facts").hidden = byId("neighbours").hidden = !facts;
    this.#n = facts?.n ?? null;
    if (!facts) {
      return;
    }
    setText(byId("fact-digits"), exactly(facts.digits));
    const isShort = BigInt(facts.digits) <= 2 * END_DIGITS; // the ends would overlap
    byId("fact-first").parentElement.hidden = byId("fact-last").parentElement.hidden = isShort;
    setText(byId("fact-first"), `${spaced(facts.first)} …`);
    setText(byId("fact-last"), `… ${spaced(facts.last)}`);
    this.#showNeighbours();
    const link = byId("permanent");
    link.href = numberLink(facts.n);
    setText(link, link.href.length > 100 ? `${link.href.slice(0, 100)}…` : link.href);
    setText(byId("itself-name"), `Is ${nameOf(facts.n)} one?`);
    this.#showItself();
    this.#showRemainder();
  }

  #showNeighbours() {
    const [before, after] = [BigInt(this.#n) - 1n, BigInt(this.#n) + 1n];
    for (const [id, n] of [["previous", before], ["next", after]]) {
      const link = byId(id);
      link.hidden = n < 0n || n > MAX_N;
      if (!link.hidden) {
        link.href = numberLink(String(n));
        setText(link.querySelector("span"), `F(${nameOf(String(n))})`);
      }
    }
  }

  async #showItself() {
    const { signal } = this.#controller;
    const place = byId("fact-itself");
    place.replaceChildren("…");
    try {
      const found = await getJson(`index/${this.#n}`, { signal, isAside: true });
      const more = make("a", "", "More");
      more.href = findLink(this.#n);
      more.setAttribute("aria-label", `More about ${nameOf(this.#n)}`);
      const answer = found.indices.length ? "Yes, it " : "No, it ";
      place.replaceChildren(answer, ...relation(found), ". ", more);
    } catch (error) {
      showProblem(place, error);
    }
  }

  async #showRemainder() {
    const [{ signal }, n] = [this.#controller, this.#n];
    const [input, place] = [byId("modulus"), byId("remainder")];
    if (n === null) {
      return;
    }
    const typed = input.value;
    const path = pathOf({ kind: "number", number: n }, "json", [
      `mod=${encodeURIComponent(evaluated(typed))}`,
    ]);
    try {
      const { remainder } = await getJson(path, { signal, isAside: true });
      if (typed === input.value) {
        input.setAttribute("aria-invalid", false);
        place.replaceChildren(spaced(remainder));
      }
    } catch (error) {
      if (typed === input.value) {
        input.setAttribute("aria-invalid", error.name !== "AbortError");
        showProblem(place, error);
      }
    }
  }
}

function showProblem(place, error) {
  if (error.name !== "AbortError") {
    place.replaceChildren(make("span", "quiet", error.message));
  }
}
