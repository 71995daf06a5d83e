/* Sparkline of the latest readings, as an SVG that scales with its container. */

import { makeSvg } from "./dom.js";

const KEPT = 60;
const [WIDTH, HEIGHT] = [120, 32];

export class Sparkline {
  #values = [];
  #line = makeSvg("polyline", { class: "line" });
  #area = makeSvg("polygon", { class: "area" });
  element = makeSvg("svg", {
    class: "sparkline",
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
    preserveAspectRatio: "none",
    "aria-hidden": "true", // the value is beside it as text
  });

  constructor() {
    this.element.append(this.#area, this.#line);
  }

  /** Add a reading. */
  add(value) {
    this.#values = [...this.#values, value].slice(-KEPT);
    const highest = Math.max(...this.#values, Number.MIN_VALUE);
    const step = WIDTH / (KEPT - 1);
    const left = WIDTH - (this.#values.length - 1) * step;
    const points = this.#values.map((each, index) => {
      const y = HEIGHT - 2 - (each / highest) * (HEIGHT - 4);
      return `${(left + index * step).toFixed(1)},${y.toFixed(1)}`;
    });
    this.#line.setAttribute("points", points.join(" "));
    this.#area.setAttribute("points", `${left},${HEIGHT} ${points.join(" ")} ${WIDTH},${HEIGHT}`);
  }
}
