/* Size of the result of a query while it is typed; if it is too large, queries to run instead. */

import { fieldsOf, titleOf, toSearch } from "./query.js";
import { byId, make } from "./dom.js";
import { evaluated, nameOf } from "./expressions.js";
import { limits } from "./limits.js";
import { counted, digitsOf, estimatedBytes, grouped, indexOf, readableBytes } from "./sequence.js";

const SETTLE_MS = 200; // so that screen readers do not announce each key
const DIGITS_PER_STEP = 0.20898764024997873; // log10 φ

export class SizeHint {
  #timer = 0;
  #typed = "";

  /** Show the size of a query when typing pauses. */
  later(query) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.show(query), SETTLE_MS);
  }

  /** Show the size of a query. */
  async show(query) {
    clearTimeout(this.#timer);
    if (toSearch(query) === this.#typed) {
      return; // links that are there stay, so that a click on one is not lost
    }
    this.#typed = toSearch(query);
    const { words, offers } = hintFor(query, await limits());
    if (toSearch(query) !== this.#typed) {
      return; // the query has changed meanwhile
    }
    const links = offers.flatMap((offer, place) => {
      const link = make("a", "", titleOf(offer));
      link.href = toSearch(offer);
      return [place ? " or " : " ", link];
    });
    byId("hint").dataset.isOffer = offers.length > 0;
    byId("hint").replaceChildren(words, ...links, ...itself(query, offers));
  }
}

/* Link for those who mean the number itself, not the index. */
function itself(query, offers) {
  const x = evaluated(query.number ?? query.first ?? "");
  const isIndex = query.kind === "number" || offers.length > 0;
  const n = isIndex && /^\d{1,1000}$/.test(x) ? indexOf(BigInt(x)) : -1;
  if (n < 0) {
    return [];
  }
  const link = make("a", "", `${nameOf(x)} itself is F(${grouped(n)})`);
  link.href = toSearch({ kind: "index", x });
  return [". ", link];
}

/** Return {words, offers} for a query: its size, and queries to run instead if it is too large. */
export function hintFor(query, known) {
  const values = fieldsOf(query.kind).map((field) => evaluated(query[field]));
  if (!values.every((value) => /^\d+$/.test(value))) {
    return { words: "", offers: [] };
  }
  return { first, range, number, index }[query.kind](values, known);
}

function first([n], known) {
  return list("0", n, known, n);
}

function range([start, count], known) {
  return list(start, count, known, start);
}

/* `other` is the index of the number to show instead. */
function list(start, count, known, other) {
  const size = `${sizeInWords(Number(start), Number(count))} as JSON`;
  const fitting = fittingCount(Number(start), known);
  if (Number(count) <= fitting) {
    return { words: size, offers: [] };
  }
  const fits = String(fitting);
  const largest =
    start === "0" ? { kind: "first", first: fits } : { kind: "range", start, count: fits };
  const offers = [...(fitting ? [largest] : []), { kind: "number", number: other }];
  const isTooFar = start !== "0" && Number(start) + Number(count) - 1 > known.max_index;
  const reason = isTooFar
    ? `This server computes numbers up to F(${grouped(known.max_index)}).`
    : `${size}, more than this server sends at once.`;
  return { words: `${reason} Instead:`, offers };
}

function number([n], { max_index: maxIndex }) {
  if (Number(n) > maxIndex) {
    return { words: `${digitsInWords(n)}: both ends and remainders are known`, offers: [] };
  }
  return { words: counted(digitsOf(Number(n)), "digit"), offers: [] };
}

function index([x]) {
  return { words: counted(x.length, "digit"), offers: [] };
}

/* Return how many numbers from F(start) on the service sends at once as JSON. */
function fittingCount(start, { max_index: maxIndex, max_answer_bytes: maxBytes, largest_n: largest }) {
  if (start === 0) {
    return largest.json ?? Infinity;
  }
  if (maxIndex === Infinity) {
    return Infinity;
  }
  let [fitting, beyond] = [0, Math.max(0, maxIndex - start + 1) + 1];
  while (beyond - fitting > 1) {
    const count = Math.floor((fitting + beyond) / 2);
    if (estimatedBytes(start, count) <= maxBytes) {
      fitting = count;
    } else {
      beyond = count;
    }
  }
  return fitting;
}

function sizeInWords(start, count) {
  const bytes = estimatedBytes(start, count);
  if (bytes < 1e15) {
    return readableBytes(bytes);
  }
  const digits = Math.log10(DIGITS_PER_STEP) + Math.log10(start + count / 2) + Math.log10(count);
  return `About 10^${Math.round(digits)} bytes`;
}

function digitsInWords(n) {
  const mantissa = Number(`0.${n.slice(0, 15)}`) * DIGITS_PER_STEP;
  const [factor, exponent] = mantissa.toExponential(2).split("e");
  return `${factor}·10^${n.length + Number(exponent)} digits`;
}
