/* Numbers as people type them, and as they are shown: exact integers of up to 10,000 digits. Pure.

   A number is a string of decimal digits here, since it may be beyond what Number holds exactly. */

const MAX_DIGITS = 10_000; // more than the service accepts
const MAX_GROUPED_DIGITS = 21;
const MAX_OFFSET = 999n; // from a power of ten
const SHOWN_DIGITS = 8; // at either end of a long number

const EXPRESSION = /^\d+(?:[-+*^e]\d+)+$/i;
const GROUPED = new Intl.NumberFormat("en");

/** Remove separators between digits: 100,000 and 100_000 and 100 000 are the same. */
export function cleaned(text) {
  return text.replace(/[\s,_'’]/g, "");
}

/** Return the digits of an expression such as 10^100, 2**64-1, 3*10^5 or 1e6. Other text, and what
    would be too long, is returned as it is: the service says why it is invalid. */
export function evaluated(text) {
  const plain = cleaned(text).replaceAll("**", "^").replace(/[×·]/g, "*").replaceAll("−", "-");
  if (!EXPRESSION.test(plain)) {
    return cleaned(text);
  }
  const terms = plain.match(/[-+]?[^-+]+/g).map(product);
  if (terms.includes(null)) {
    return cleaned(text);
  }
  return String(terms.reduce((sum, term) => sum + term));
}

/* A product with its sign, or null if it would be too long. */
function product(term) {
  const factors = term.replace(/^[-+]/, "").replace(/e/i, "*10^").split("*").map(power);
  if (factors.includes(null)) {
    return null;
  }
  const value = factors.reduce((one, other) => one * other);
  return term.startsWith("-") ? -value : value;
}

function power(factor) {
  const [base, exponent = "1", ...more] = factor.split("^");
  const digits = base.length * Number(exponent);
  return more.length || digits > MAX_DIGITS ? null : BigInt(base) ** BigInt(exponent);
}

/** Return a number as it is shown: 1,000, 10^100 + 1, or both ends of its digits. */
export function nameOf(digits) {
  if (digits.length <= MAX_GROUPED_DIGITS) {
    return GROUPED.format(BigInt(digits));
  }
  const near = nearPowerOfTen(digits);
  if (near) {
    return near.replace(/[-+]/, (sign) => ` ${sign === "-" ? "−" : sign} `);
  }
  return `${digits.slice(0, SHOWN_DIGITS)}…${digits.slice(-SHOWN_DIGITS)}`;
}

/** Return the shortest text that evaluates to a number, for an address. */
export function shortened(digits) {
  return (digits.length > MAX_GROUPED_DIGITS && nearPowerOfTen(digits)) || digits;
}

function nearPowerOfTen(digits) {
  const value = BigInt(digits);
  for (const exponent of [digits.length - 1, digits.length]) {
    const offset = value - 10n ** BigInt(exponent);
    if (-MAX_OFFSET <= offset && offset <= MAX_OFFSET) {
      return `10^${exponent}${offset > 0n ? "+" : ""}${offset === 0n ? "" : offset}`;
    }
  }
  return "";
}

/** Return a number with all its digits: thousands set apart, or tens of digits if it is long. */
export function exactly(digits) {
  return digits.length > MAX_GROUPED_DIGITS ? spaced(digits) : GROUPED.format(BigInt(digits));
}

/** Return digits in groups of ten. */
export function spaced(digits) {
  return digits.replace(/\d{10}(?=\d)/g, "$& ");
}

/** Return a number as people grasp it: exact if it is short, otherwise with a power of ten. */
export function magnitude(digits) {
  if (digits.length <= MAX_GROUPED_DIGITS) {
    return GROUPED.format(BigInt(digits));
  }
  return `${digits[0]}.${digits.slice(1, 4)}…·10^${digits.length - 1}`;
}
