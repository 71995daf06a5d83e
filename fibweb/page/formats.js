/* Formats of the result, with their exact sizes; copy and download. */

import { pathOf } from "./query.js";
import { copyFrom } from "./clipboard.js";
import { byId, make, setText } from "./dom.js";
import { grouped, readableBytes } from "./sequence.js";
import { getText, reachability, sizeOf } from "./service.js";

/** The formats with their labels. */
export const FORMATS = [
  { name: "json", label: "JSON" },
  { name: "text", label: "Text" },
  { name: "csv", label: "CSV" },
  { name: "ndjson", label: "NDJSON" },
  { name: "bfile", label: "b-file" },
  { name: "binary", label: "Binary" },
];

const MAX_COPIED_BYTES = 64_000_000;

export class Formats {
  #query = null;
  #controller = new AbortController();
  #sizes = {};
  #onChoice;

  /** @param onChoice (query, format name, size in bytes or undefined) is called when one changes */
  constructor(onChoice) {
    this.#onChoice = onChoice;
    for (const { name, label } of FORMATS) {
      const input = make("input");
      Object.assign(input, { type: "radio", name: "format", value: name, checked: name === "json" });
      const size = make("small", "", "…");
      size.id = `size-${name}`;
      byId("formats").append(make("label", "", input, make("span", "", make("b", "", label), size)));
    }
    byId("formats").addEventListener("change", () => this.#update());
    byId("copy").addEventListener("click", (event) => {
      copyFrom(event.currentTarget, getText(pathOf(this.#query, this.chosen)));
    });
    reachability.addEventListener("up", () => this.#query && this.#measure());
  }

  /** Name of the chosen format. */
  get chosen() {
    return document.querySelector("input[name=format]:checked").value;
  }

  /** Offer the result of a query. */
  offer(query) {
    this.#query = query;
    this.#sizes = {};
    this.#update();
    this.#measure();
  }

  /** Offer nothing. */
  withdraw() {
    this.#controller.abort();
    this.#query = null;
  }

  #measure() {
    this.#controller.abort();
    this.#controller = new AbortController();
    const { signal } = this.#controller;
    for (const { name } of FORMATS) {
      sizeOf(pathOf(this.#query, name), { signal }).then(
        (size) => {
          this.#sizes[name] = size;
          this.#update();
        },
        () => {}, // the size stays unknown; the error is shown if the user requests this format
      );
    }
  }

  #update() {
    for (const { name } of FORMATS) {
      const size = this.#sizes[name];
      const element = byId(`size-${name}`);
      setText(element, size === undefined ? "…" : readableBytes(size));
      element.title = size === undefined ? "" : `${grouped(size)} bytes`;
    }
    const size = this.#sizes[this.chosen];
    const copy = byId("copy");
    copy.disabled = this.chosen === "binary" || !(size <= MAX_COPIED_BYTES);
    copy.title = copy.disabled ? "Only text of up to 64 MB can be copied; download it" : "";
    byId("download").href = pathOf(this.#query, this.chosen, ["download"]);
    setText(
      byId("download"),
      size === undefined ? "Download" : `Download ${readableBytes(size)}`,
    );
    this.#onChoice(this.#query, this.chosen, size);
  }
}
