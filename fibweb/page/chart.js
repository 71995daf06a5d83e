/* Line chart over n as SVG, with a slider that selects one point. */

import { make, makeSvg } from "./dom.js";
import { grouped } from "./sequence.js";

const HEIGHT = 230;
const MARGIN = { top: 14, right: 16, bottom: 26, left: 46 }; // at the left at least
const LABEL_GAP = 8;
const LABEL_CHARACTER = 7; // width of a digit of a label, in pixels
const THUMB_RADIUS = 8; // of the slider
const MAX_TABLE_ROWS = 24;

export class Chart {
  #figure;
  #svg;
  #slider;
  #plot = null;
  #labels = []; // of the ticks
  #left = MARGIN.left;

  /** @param figure has an svg, a range input, an output and a table body */
  constructor(figure) {
    this.#figure = figure;
    this.#svg = figure.querySelector("svg");
    this.#slider = figure.querySelector("input");
    this.#slider.addEventListener("input", () => this.#draw());
    this.#svg.addEventListener("pointermove", (event) => this.#follow(event));
    this.#svg.addEventListener("pointerdown", (event) => this.#follow(event));
    new ResizeObserver(() => this.#draw()).observe(this.#svg);
  }

  /** Draw a plot.

      @param plot {label: description for screen readers; from, to: the first and last n; at: the n
        selected at first; value: function from n to its value; cell: from n to a text for the
        table; read: from n to the content of the output; points: the n to draw; low, high: range of
        the values; ticks: values with a rule; target: {value, label} of a dashed line} */
  show(plot) {
    this.#plot = plot;
    this.#labels = labelsOf(plot.ticks);
    const longest = Math.max(...this.#labels.map((label) => label.length));
    this.#left = Math.max(MARGIN.left, 2 * LABEL_GAP + longest * LABEL_CHARACTER);
    this.#figure.style.setProperty("--plot-left", `${this.#left - THUMB_RADIUS}px`);
    this.#svg.setAttribute("aria-label", plot.label);
    Object.assign(this.#slider, { min: plot.from, max: plot.to });
    this.#slider.value = plot.at;
    this.#slider.disabled = plot.from === plot.to;
    const rows = spread(plot.from, plot.to, MAX_TABLE_ROWS).map((n) =>
      make("tr", "", make("td", "", grouped(n)), make("td", "", plot.cell(n))),
    );
    this.#figure.querySelector("tbody").replaceChildren(...rows);
    this.#draw();
  }

  #follow(event) {
    const { left, width } = this.#svg.getBoundingClientRect();
    const inner = width - this.#left - MARGIN.right;
    const share = (event.clientX - left - this.#left) / inner;
    const { from, to } = this.#plot;
    this.#slider.value = Math.round(from + Math.min(1, Math.max(0, share)) * (to - from));
    this.#draw();
  }

  #draw() {
    const width = this.#svg.clientWidth;
    const plot = this.#plot;
    if (!width || !plot) {
      return;
    }
    const { from, to, low, high, value } = plot;
    const right = width - MARGIN.right;
    const bottom = HEIGHT - MARGIN.bottom;
    const x = (n) => this.#left + ((n - from) / Math.max(1, to - from)) * (right - this.#left);
    const y = (v) => bottom - ((v - low) / (high - low)) * (bottom - MARGIN.top);
    const parts = [];
    for (const [index, tick] of plot.ticks.entries()) {
      const level = y(tick);
      parts.push(
        makeSvg("line", { class: "rule", x1: this.#left, x2: right, y1: level, y2: level }),
        makeSvg(
          "text",
          { x: this.#left - LABEL_GAP, y: level + 4, "text-anchor": "end" },
          this.#labels[index],
        ),
      );
    }
    const level = HEIGHT - 7;
    parts.push(
      makeSvg("text", { x: this.#left, y: level }, `n = ${grouped(from)}`),
      makeSvg("text", { x: right, y: level, "text-anchor": "end" }, grouped(to)),
    );
    if (plot.target) {
      const at = y(plot.target.value);
      parts.push(
        makeSvg("line", { class: "target", x1: this.#left, x2: right, y1: at, y2: at }),
        makeSvg("text", { class: "target-name", x: right, y: at - 8, "text-anchor": "end" },
          plot.target.label),
      );
    }
    const points = plot.points.map((n) => `${x(n).toFixed(1)},${y(value(n)).toFixed(1)}`);
    parts.push(makeSvg("polyline", { class: "line", points: points.join(" ") }));
    if (points.length <= MAX_TABLE_ROWS) {
      for (const n of plot.points) {
        parts.push(makeSvg("circle", { class: "point", cx: x(n), cy: y(value(n)), r: 3 }));
      }
    }
    const n = Number(this.#slider.value);
    parts.push(
      makeSvg("line", { class: "cursor", x1: x(n), x2: x(n), y1: MARGIN.top, y2: bottom }),
      makeSvg("circle", { class: "cursor-point", cx: x(n), cy: y(value(n)), r: 5 }),
    );
    this.#svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.#svg.replaceChildren(...parts);
    const content = make("span", "", ...plot.read(n));
    this.#figure.querySelector("output").replaceChildren(content);
    this.#slider.setAttribute("aria-valuetext", content.textContent);
  }
}

/** Return at most `most` integers, evenly spread from `from` to `to`, both included. */
export function spread(from, to, most) {
  const count = Math.min(most, to - from + 1);
  const step = (to - from) / Math.max(1, count - 1);
  return Array.from({ length: count }, (_, index) => Math.round(from + index * step));
}

/** Return round values between `low` and `high`, for the rules of a chart. */
export function roundTicks(low, high) {
  const rough = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(1, [1, 2, 5, 10].find((factor) => factor * power >= rough) * power);
  const first = Math.ceil(low / step) * step;
  const count = Math.floor((high - first) / step) + 1;
  return Array.from({ length: count }, (_, index) => first + index * step);
}

/* Labels of ticks: short ones if these are different. */
function labelsOf(ticks) {
  const short = ticks.map((tick) =>
    tick.toLocaleString("en", { notation: tick < 10_000 ? "standard" : "compact" }),
  );
  return new Set(short).size === short.length ? short : ticks.map(grouped);
}
