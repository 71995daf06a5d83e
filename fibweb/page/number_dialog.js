/* Dialog with all digits of one number. */

import { pathOf, toSearch } from "./query.js";
import { copyFrom } from "./clipboard.js";
import { DigitsView } from "./digits_view.js";
import { byId, setText } from "./dom.js";
import { counted, digitsOf, grouped } from "./sequence.js";
import { getText } from "./service.js";

/** Numbers with more digits can only be downloaded. */
export const MAX_SHOWN_DIGITS = 20_000_000;

/** Fetch the digits of F(n). */
export async function fetchDigits(n, options = {}) {
  const path = pathOf({ kind: "number", number: String(n) }, "text");
  return (await getText(path, options)).trimEnd();
}

export class NumberDialog {
  #dialog = byId("dialog");
  #view = new DigitsView(byId("dialog-digits"));
  #digits = "";
  #controller = new AbortController();

  constructor() {
    byId("dialog-close").addEventListener("click", () => this.#dialog.close());
    byId("dialog-copy").addEventListener("click", (event) => {
      copyFrom(event.currentTarget, Promise.resolve(this.#digits));
    });
    this.#dialog.addEventListener("click", (event) => {
      if (event.target === this.#dialog) {
        this.#dialog.close(); // a click on the backdrop
      }
    });
    this.#dialog.addEventListener("close", () => {
      this.#controller.abort();
      this.#digits = "";
      this.#view.show("", "Digits");
    });
  }

  /** Open the dialog for F(n). */
  async open(n) {
    const name = `F(${grouped(n)})`;
    this.#controller = new AbortController();
    const { signal } = this.#controller;
    setText(byId("dialog-title"), name);
    setText(byId("dialog-summary"), `${counted(digitsOf(n), "digit")}, loading`);
    byId("dialog-copy").disabled = true;
    byId("dialog-download").href = pathOf({ kind: "number", number: String(n) }, "text", [
      "download",
    ]);
    byId("dialog-more").href = toSearch({ kind: "number", number: String(n) });
    this.#dialog.showModal();
    if (digitsOf(n) > MAX_SHOWN_DIGITS) {
      setText(byId("dialog-summary"), `${counted(digitsOf(n), "digit")}: too many to show here`);
      return;
    }
    try {
      this.#digits = await fetchDigits(n, { signal });
      setText(byId("dialog-summary"), counted(this.#digits.length, "digit"));
      this.#view.show(this.#digits, name);
      byId("dialog-copy").disabled = false;
    } catch (error) {
      if (error.name !== "AbortError") {
        setText(byId("dialog-summary"), error.message);
      }
    }
  }
}
