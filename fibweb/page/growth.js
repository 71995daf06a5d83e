/* The two plots: number of digits, and ratio of neighbours. */

import { Chart, roundTicks, spread } from "./chart.js";
import { byId, make } from "./dom.js";
import {
  PHI_DECIMALS,
  commonLength,
  counted,
  digitsOf,
  grouped,
  neighbours,
  ratioText,
} from "./sequence.js";

const MAX_N = 1e9; // beyond, the closed form in sequence.js may be one off
const MAX_POINTS = 240;
const MIN_SPAN = 10;
const LAST_RATIO = 24;
const FIRST_RATIO_SHOWN = 6;
const RATIO_DECIMALS = 12;
const PHI = Number(PHI_DECIMALS);

export class Growth {
  #digits = new Chart(byId("digits-figure"));

  constructor() {
    new Chart(byId("ratio-figure")).show({
      label:
        "Line: F(n+1)/F(n) for n from 1 to 24 swings between 1 and 2, less each time, " +
        `and closes in on φ = ${PHI_DECIMALS.slice(0, 8)}…`,
      from: 1,
      to: LAST_RATIO,
      at: FIRST_RATIO_SHOWN,
      value: (n) => Number(ratioText(n, RATIO_DECIMALS)),
      cell: (n) => ratioText(n, RATIO_DECIMALS),
      read: readRatio,
      points: spread(1, LAST_RATIO, LAST_RATIO),
      low: 0.95,
      high: 2.05,
      ticks: [1, 1.25, 1.5, 1.75, 2],
      target: { value: PHI, label: `φ = ${PHI_DECIMALS.slice(0, 12)}…` },
    });
  }

  /** Plot the number of digits of F(start) to F(stop-1); for one number, from F(0) on. */
  show(start, stop) {
    byId("digits-figure").hidden = stop > MAX_N;
    if (stop > MAX_N) {
      return;
    }
    const isAlone = stop - start <= 1;
    const from = isAlone ? 0 : start;
    const to = Math.max(stop - 1, from + MIN_SPAN);
    const [low, high] = [from ? digitsOf(from) : 0, digitsOf(to)];
    this.#digits.show({
      label:
        `Line: the number of digits grows steadily, from ${counted(digitsOf(from), "digit")} ` +
        `at n = ${grouped(from)} to ${counted(high, "digit")} at n = ${grouped(to)}`,
      from,
      to,
      at: Math.max(from, stop - 1),
      value: digitsOf,
      cell: (n) => grouped(digitsOf(n)),
      read: (n) => [`F(${grouped(n)}) has `, make("b", "", counted(digitsOf(n), "digit"))],
      points: spread(from, to, MAX_POINTS),
      low,
      high: Math.max(high, low + 1),
      ticks: roundTicks(low, Math.max(high, low + 1)),
    });
  }
}

function readRatio(n) {
  const [current, next] = neighbours(n);
  const text = ratioText(n, RATIO_DECIMALS);
  const common = commonLength(text, PHI_DECIMALS);
  return [`${grouped(next)} / ${grouped(current)} = `, make("b", "", text.slice(0, common)),
    text.slice(common)];
}
