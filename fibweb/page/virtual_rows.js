/* A scrolled list of any length, of which only the visible rows exist.

   Rows have one height. An element serves rows index, index + pool, index + 2 × pool, …, so while
   scrolling each visible row keeps its element. */

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
  #shown = []; // index by pool place
  #count = 0;
  #rowHeight = 1;
  #frame = 0;

  /** @param viewport the element that scrolls
      @param fill (element, index) writes a row
      @param afterRender (first, stop) is told which rows are there */
  constructor(viewport, fill, afterRender = () => {}) {
    this.#viewport = viewport;
    this.#fill = fill;
    this.#afterRender = afterRender;
    this.#canvas.setAttribute("role", "presentation");
    viewport.append(this.#canvas);
    viewport.addEventListener("scroll", () => this.#schedule(), { passive: true });
    new ResizeObserver(() => this.#layOut()).observe(viewport);
  }

  /** Show another list, from its beginning. */
  reset(count) {
    this.#count = count;
    this.#viewport.scrollTop = 0;
    this.#layOut();
  }

  /** Write rows again whose content has changed. */
  refresh() {
    this.#shown.fill(-1);
    this.#render();
  }

  /** Scroll as little as makes a row visible, and render it. */
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

  /** The element of a row, if it is there. */
  elementOf(index) {
    const place = index % this.#pool.length;
    return this.#shown[place] === index ? this.#pool[place] : null;
  }

  /** How many rows fit. */
  get pageLength() {
    return Math.max(1, Math.floor(this.#viewport.clientHeight / this.#rowHeight));
  }

  #layOut() {
    if (!this.#viewport.clientHeight) {
      return; // hidden
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

  /* Where the viewport is in the list at full height, and the way back. */

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
