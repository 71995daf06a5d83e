/* The limits of the service: the largest index, and the largest N in each format. */

import { getJson, reachability } from "./service.js";

const UNKNOWN = { max_index: Infinity, largest_n: {} };

let known = null; // a promise

/** Return the limits; no limits if they cannot be read, since the service checks each query. */
export function limits() {
  known ??= getJson("limits", { isAside: true }).catch(() => {
    known = null; // retry the next time
    return UNKNOWN;
  });
  return known;
}

reachability.addEventListener("up", () => {
  known = null; // they may have changed with a restart
});
