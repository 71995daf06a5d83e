/* What is asked for: {kind, …} with the words as they were typed. Pure.

   Only the service judges them, so there is one set of rules, and its errors are in its words. */

import { counted, grouped } from "./sequence.js";

const FIELDS = { first: ["first"], range: ["start", "count"], number: ["number"] };

export const DEFAULT = { kind: "first", first: "100" };

/** The fields that each kind has. */
export function fieldsOf(kind) {
  return FIELDS[kind];
}

/** What people write between digits means nothing: 100,000 and 100_000 and 100 000. */
export function cleaned(text) {
  return text.replace(/[\s,_'’]/g, "");
}

/** Read an ask from the query of the page's address. */
export function fromSearch(search) {
  const query = new URLSearchParams(search);
  for (const [kind, fields] of Object.entries(FIELDS)) {
    if (fields.every((field) => query.has(field))) {
      return { kind, ...Object.fromEntries(fields.map((field) => [field, query.get(field)])) };
    }
  }
  return DEFAULT;
}

/** Return the query for the page's address. */
export function toSearch(ask) {
  const pairs = fieldsOf(ask.kind).map((field) => [field, ask[field]]);
  return `?${new URLSearchParams(pairs)}`;
}

/** Return the path that answers it, relative to the page: there may be a prefix before both.

    `format` is left out for JSON, which is what the service answers anyway. */
export function pathOf(ask, format = "json", parameters = []) {
  const query = [];
  let path;
  if (ask.kind === "range") {
    path = "fib";
    query.push(`start=${encodeURIComponent(ask.start)}`, `count=${encodeURIComponent(ask.count)}`);
  } else {
    path = ask.kind === "first" ? "fib/" : "number/";
    path += encodeURIComponent(ask[ask.kind]);
  }
  if (format !== "json") {
    query.push(`format=${format}`);
  }
  query.push(...parameters);
  return query.length ? `${path}?${query.join("&")}` : path;
}

/** Return [start, stop) of an ask that the service has accepted. */
export function spanOf(ask) {
  if (ask.kind === "first") {
    return [0, Number(ask.first)];
  }
  if (ask.kind === "number") {
    return [Number(ask.number), Number(ask.number) + 1];
  }
  return [Number(ask.start), Number(ask.start) + Number(ask.count)];
}

/** Return what a result is called. */
export function titleOf(ask) {
  const [start, stop] = spanOf(ask);
  if (ask.kind === "number") {
    return `F(${grouped(start)})`;
  }
  if (ask.kind === "first") {
    return stop ? `The first ${counted(stop, "number")}` : "The first 0 numbers";
  }
  return `${counted(stop - start, "number")} from F(${grouped(start)})`;
}
