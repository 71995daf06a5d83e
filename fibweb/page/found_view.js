/* Where a number lies among the Fibonacci numbers, and its Zeckendorf sum, drawn to scale. */

import { byId, make, setText } from "./dom.js";
import { nameOf } from "./expressions.js";
import { counted, grouped } from "./sequence.js";
import { linkToNumber, relation } from "./single_number.js";

const PHI = (1 + Math.sqrt(5)) / 2;
const MIN_SHARE = 0.004; // the rest would be narrower than a few pixels
const MAX_TERMS = 24;

export class FoundView {
  /** Show the document of /index; null clears the view. */
  show(found) {
    byId("found").hidden = !found;
    if (!found) {
      return;
    }
    const answer = found.indices.length ? "Yes: " : "No: ";
    byId("found-verdict").replaceChildren(answer, `${nameOf(found.x)} `, ...relation(found), ".");
    this.#draw(found.zeckendorf);
    this.#list(found.zeckendorf);
  }

  /* One bar in parts: each term's share of the sum. */
  #draw(indices) {
    const shares = sharesOf(indices).filter((share) => share >= MIN_SHARE);
    const parts = shares.map((share, place) => {
      const part = make("div", "part", make("span", "", `F(${grouped(indices[place])})`));
      part.style.flexGrow = 1000 * share; // a sum below 1 would not fill the bar
      return part;
    });
    byId("zeckendorf").replaceChildren(...parts);
  }

  #list(indices) {
    const count = counted(indices.length, "term");
    const words = indices.length
      ? `The Zeckendorf sum has ${count}: Fibonacci numbers, no two of them neighbours.`
      : "0 is the sum of no terms.";
    setText(byId("zeckendorf-summary"), words);
    const rows = indices.slice(0, MAX_TERMS).map((n) => make("li", "", ...linkToNumber(n)));
    if (indices.length > MAX_TERMS) {
      rows.push(make("li", "quiet", `and ${grouped(indices.length - MAX_TERMS)} more`));
    }
    byId("zeckendorf-terms").replaceChildren(...rows);
  }
}

/* The terms as shares of their sum: ratios are powers of φ, whatever the size. */
function sharesOf(indices) {
  const sizes = indices.map((index) => PHI ** (index - indices[0]));
  const total = sizes.reduce((sum, size) => sum + size, 0);
  return sizes.map((size) => size / total);
}
