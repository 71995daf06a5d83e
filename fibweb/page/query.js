/* Queries of the page: {kind, …} with the values as typed. Pure.

   Only the service validates them, so the rules and the error messages are in one place. */

import { counted, grouped } from "./sequence.js";

const FIELDS = { first: ["first"], range: ["start", "count"], number: ["number"] };

export const DEFAULT = { kind: "first", first: "100" };

/** Return the fields of a kind of query. */
export function fieldsOf(kind) {
  return FIELDS[kind];
}

/** Return a number as typed, without separators: 100,000 and 100_000 and 100 000. */
export function cleaned(text) {
  return text.replace(/[\s,_'’]/g, "");
}

/** Parse the query string of the page's address. */
export function fromSearch(search) {
  const found = new URLSearchParams(search);
  for (const [kind, fields] of Object.entries(FIELDS)) {
    if (fields.every((field) => found.has(field))) {
      return { kind, ...Object.fromEntries(fields.map((field) => [field, found.get(field)])) };
    }
  }
  return DEFAULT;
}

/** Return the query string for the page's address. */
export function toSearch(query) {
  const pairs = fieldsOf(query.kind).map((field) => [field, query[field]]);
  return `?${new URLSearchParams(pairs)}`;
}

/** Return the path of the result, relative to the page, as both may be below a prefix.

    JSON is the default of the service, so its `format` is omitted. */
export function pathOf(query, format = "json", parameters = []) {
  const pairs = [];
  let path;
  if (query.kind === "range") {
    path = "fib";
    pairs.push(`start=${encodeURIComponent(query.start)}`, `count=${encodeURIComponent(query.count)}`);
  } else {
    path = query.kind === "first" ? "fib/" : "number/";
    path += encodeURIComponent(query[query.kind]);
  }
  if (format !== "json") {
    pairs.push(`format=${format}`);
  }
  pairs.push(...parameters);
  return pairs.length ? `${path}?${pairs.join("&")}` : path;
}

/** Return [start, stop) of a query that the service has accepted. */
export function spanOf(query) {
  if (query.kind === "first") {
    return [0, Number(query.first)];
  }
  if (query.kind === "number") {
    return [Number(query.number), Number(query.number) + 1];
  }
  return [Number(query.start), Number(query.start) + Number(query.count)];
}

/** Return the title of the result. */
export function titleOf(query) {
  const [start, stop] = spanOf(query);
  if (query.kind === "number") {
    return `F(${grouped(start)})`;
  }
  if (query.kind === "first") {
    return stop ? `The first ${counted(stop, "number")}` : "The first 0 numbers";
  }
  return `${counted(stop - start, "number")} from F(${grouped(start)})`;
}
