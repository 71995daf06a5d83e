/* Content for printing, where lists cannot scroll: all numbers with all digits. */

import { byId, make } from "./dom.js";

/** Print the texts that `lines` returns, one in each paragraph. */
export function printWith(lines) {
  addEventListener("beforeprint", () => {
    byId("print").replaceChildren(...lines().map((line) => make("p", "", line)));
  });
  addEventListener("afterprint", () => byId("print").replaceChildren());
}
