/* Properties of the sequence in closed form, and texts for numbers. Pure. */

const LOG10_PHI = Math.log10((1 + Math.sqrt(5)) / 2);
const MAX_SUMMED = 5000;
const LOG10_SQRT5 = Math.log10(5) / 2;

/** φ with more decimals than any ratio is shown with. */
export const PHI_DECIMALS = "1.618033988749894848204586834365";

/** Return the number of decimal digits of F(n), in closed form. */
export function digitsOf(n) {
  return n < 2 ? 1 : Math.floor(n * LOG10_PHI - LOG10_SQRT5) + 1;
}

/** Return the size of F(start) to F(start+count-1) as JSON in bytes: exact for few numbers,
    otherwise within 0.1 %. */
export function estimatedBytes(start, count) {
  const members = start ? `{"start": ${start}, "N": ${count}` : `{"N": ${count}`;
  const around = members.length + ', "result": []}'.length + Math.max(0, 3 * count - 1);
  let digits = 0;
  if (count <= MAX_SUMMED) {
    for (let n = start; n < start + count; n += 1) {
      digits += digitsOf(n);
    }
  } else {
    // On average, rounding down and adding 1 adds one half.
    const mean = (start + (count - 1) / 2) * LOG10_PHI - LOG10_SQRT5 + 0.5;
    digits = Math.round(count * mean);
  }
  return digits + around;
}

/** Return F(n) and F(n+1) exactly; for small n. */
export function neighbours(n) {
  let [current, next] = [0n, 1n];
  for (let index = 0; index < n; index += 1) {
    [current, next] = [next, current + next];
  }
  return [current, next];
}

/** Return the largest n with F(n) = x, or -1. */
export function indexOf(x) {
  let [n, current, next] = [0, 0n, 1n];
  while (next <= x) {
    [n, current, next] = [n + 1, next, current + next];
  }
  return current === x ? n : -1;
}

/** Return F(n+1) / F(n), n >= 1, truncated after `decimals` decimals. */
export function ratioText(n, decimals) {
  const [current, next] = neighbours(n);
  const scaled = String((next * 10n ** BigInt(decimals)) / current);
  return `${scaled[0]}.${scaled.slice(1)}`;
}

/** Return the length of the common prefix of two texts. */
export function commonLength(one, other) {
  let length = 0;
  while (length < one.length && one[length] === other[length]) {
    length += 1;
  }
  return length;
}

const GROUPED = new Intl.NumberFormat("en");
const UNITS = ["B", "kB", "MB", "GB", "TB"];

/** Return a count with thousands separators. */
export function grouped(count) {
  return GROUPED.format(count);
}

/** Return a number of bytes with three significant digits and a decimal unit, such as MB. */
export function readableBytes(bytes) {
  let [value, unit] = [bytes, 0];
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit ? value.toPrecision(3) : value} ${UNITS[unit]}`;
}

/** Return a count with its noun: "1 digit", "2 digits". */
export function counted(count, noun) {
  return `${grouped(count)} ${noun}${count === 1 ? "" : "s"}`;
}
