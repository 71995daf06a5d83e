/* Scrolled list of any length; only visible rows have elements.

   All rows have the same height. Rows whose indices are equal modulo the size of the pool share an
   element, so a visible row keeps its element while the list scrolls. */

import { make } from "./dom.js";

/* Browsers cap the height of an element, Firefox at about 17 million pixels. A list beyond this is
   scrolled in proportion. */
const MAX_HEIGHT_PX = 8_000_000;
const SPARE_ROWS = 4;

export class VirtualRows {
  #viewport;
  #canvas = make("div", "canvas");
  #fill;
  #afterRender;
  #pool = [];
  #shown = []; // index of the row in each element of the pool
  #count = 0;
  #rowHeight = 1;
  #frame = 0;

  /** @param viewport the element that scrolls
      @param fill (element, index) writes a row
      @param afterRender (first, stop) is called with the range of rows that have elements */
  constructor(viewport, fill, afterRender = () => {}) {
    this.#viewport = viewport;
    this.#fill = fill;
    this.#afterRender = afterRender;
    this.#canvas.setAttribute("role", "presentation");
    viewport.append(this.#canvas);
    viewport.addEventListener("scroll", () => this.#schedule(), { passive: true });
    new ResizeObserver(() => this.#layOut()).observe(viewport);
  }

  /** Show a list of `count` rows from its beginning. */
  reset(count) {
    this.#count = count;
    this.#viewport.scrollTop = 0;
    this.#layOut();
  }

  /** Fill all rows again, after their content has changed. */
  refresh() {
    this.#shown.fill(-1);
    this.#render();
  }

  /** Scroll by the least distance that makes a row visible, and render it. */
  reveal(index) {
    const top = index * this.#rowHeight;
    const visible = this.#viewport.clientHeight;
    const current = this.#scrolled();
    if (top < current) {
      this.#scrollTo(top);
    } else if (top + this.#rowHeight > current + visible) {
      this.#scrollTo(top + this.#rowHeight - visible);
    }
    this.#render();
  }

  /** Return the element of a row, or null. */
  elementOf(index) {
    const place = index % this.#pool.length;
    return this.#shown[place] === index ? this.#pool[place] : null;
  }

  /** Number of rows that fit. */
  get pageLength() {
    return Math.max(1, Math.floor(this.#viewport.clientHeight / this.#rowHeight));
  }

  #layOut() {
    if (!this.#viewport.clientHeight) {
      this.#pool.splice(0).forEach((row) => row.remove());
      return; // hidden; called again when it is shown
    }
    const style = getComputedStyle(this.#viewport);
    this.#rowHeight = parseFloat(style.getPropertyValue("--row-height"));
    this.#canvas.style.height = `${this.#height()}px`;
    const needed = Math.ceil(this.#viewport.clientHeight / this.#rowHeight) + 2 * SPARE_ROWS;
    while (this.#pool.length < Math.min(needed, this.#count)) {
      const row = make("div", "row");
      this.#pool.push(row);
      this.#canvas.append(row);
    }
    while (this.#pool.length > Math.min(needed, this.#count)) {
      this.#pool.pop().remove();
    }
    this.#shown = new Array(this.#pool.length);
    this.refresh();
  }

  #schedule() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#render();
    });
  }

  #render() {
    const top = this.#scrolled();
    const before = Math.max(0, Math.floor(top / this.#rowHeight) - SPARE_ROWS);
    const first = Math.max(0, Math.min(before, this.#count - this.#pool.length));
    const stop = Math.min(this.#count, first + this.#pool.length);
    const shift = this.#viewport.scrollTop - top;
    for (let index = first; index < stop; index += 1) {
      const place = index % this.#pool.length;
      const row = this.#pool[place];
      row.style.transform = `translateY(${index * this.#rowHeight + shift}px)`;
      if (this.#shown[place] !== index) {
        this.#shown[place] = index;
        this.#fill(row, index);
      }
    }
    this.#afterRender(first, stop);
  }

  /* Conversions between the scroll position and the position in the list at full height. */

  #scrolled() {
    return this.#viewport.scrollTop * this.#stretch();
  }

  #scrollTo(top) {
    this.#viewport.scrollTop = top / this.#stretch();
  }

  #height() {
    return Math.min(this.#count * this.#rowHeight, MAX_HEIGHT_PX);
  }

  #stretch() {
    const visible = this.#viewport.clientHeight;
    const hidden = this.#height() - visible;
    return hidden > 0 ? (this.#count * this.#rowHeight - visible) / hidden : 1;
  }
}
