/* Queries of the page: {kind, …} with the values as typed. Pure.

   Only the service validates them, so the rules and the error messages are in one place. */

import { evaluated, nameOf } from "./expressions.js";
import { counted, grouped } from "./sequence.js";

const FIELDS = { first: ["first"], range: ["start", "count"], number: ["number"], index: ["x"] };

export const DEFAULT = { kind: "first", first: "100" };

/** Return the fields of a kind of query. */
export function fieldsOf(kind) {
  return FIELDS[kind];
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
  const value = (field) => encodeURIComponent(evaluated(query[field]));
  const pairs = [];
  let path;
  if (query.kind === "range") {
    path = "fib";
    pairs.push(`start=${value("start")}`, `count=${value("count")}`);
  } else {
    path = { first: "fib/", number: "number/", index: "index/" }[query.kind];
    path += value(fieldsOf(query.kind)[0]);
  }
  if (format !== "json") {
    pairs.push(`format=${format}`);
  }
  pairs.push(...parameters);
  return pairs.length ? `${path}?${pairs.join("&")}` : path;
}

/** Return [start, stop) of a query for numbers that the service has accepted. */
export function spanOf(query) {
  const value = (field) => Number(evaluated(query[field]));
  if (query.kind === "first") {
    return [0, value("first")];
  }
  if (query.kind === "number") {
    return [value("number"), value("number") + 1];
  }
  return [value("start"), value("start") + value("count")];
}

/** Return the title of the result. */
export function titleOf(query) {
  if (query.kind === "number") {
    return `F(${nameOf(evaluated(query.number))})`;
  }
  if (query.kind === "index") {
    return nameOf(evaluated(query.x));
  }
  const [start, stop] = spanOf(query);
  if (query.kind === "first") {
    return stop ? `The first ${counted(stop, "number")}` : "The first 0 numbers";
  }
  return `${counted(stop - start, "number")} from F(${grouped(start)})`;
}
