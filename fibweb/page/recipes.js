/* Commands and code that request the same numbers: curl, Python, JavaScript, PowerShell. */

import { pathOf, spanOf } from "./query.js";
import { copyFrom } from "./clipboard.js";
import { byId, make } from "./dom.js";

const SUFFIXES = { json: "json", text: "txt", csv: "csv", ndjson: "ndjson", bfile: "txt", binary: "bin" };
const MAX_PRINTED_BYTES = 100_000; // larger results go to a file

const RECIPES = { curl, Python: python, JavaScript: javaScript, PowerShell: powerShell };

export class Recipes {
  #codes = {};

  constructor() {
    for (const name of Object.keys(RECIPES)) {
      const code = make("code");
      const button = make("button", "", "Copy");
      button.type = "button";
      button.setAttribute("aria-label", `Copy for ${name}`);
      button.addEventListener("click", () => copyFrom(button, Promise.resolve(code.textContent)));
      const block = make("pre", "", code);
      block.tabIndex = 0; // so that the keyboard can scroll it
      block.setAttribute("role", "group");
      block.setAttribute("aria-label", `For ${name}`);
      byId("recipes").append(make("div", "recipe", make("h3", "", name), block, button));
      this.#codes[name] = code;
    }
  }

  /** Show the commands for a JSON document.

      @param path relative to the page */
  show(path) {
    this.#write({ url: urlOf(path), format: "json", file: "" });
  }

  /** Show the commands for a query and a format.

      @param size of the result in bytes, or undefined */
  showNumbers(query, format, size) {
    const isPrinted = format !== "binary" && size <= MAX_PRINTED_BYTES;
    this.#write({
      url: urlOf(pathOf(query, format)),
      format,
      file: isPrinted ? "" : fileName(query, format),
    });
  }

  #write(wanted) {
    for (const [name, recipe] of Object.entries(RECIPES)) {
      this.#codes[name].textContent = recipe(wanted);
    }
  }
}

function urlOf(path) {
  return String(new URL(path, document.baseURI));
}

function fileName(query, format) {
  const [start, stop] = spanOf(query);
  const bounds = query.kind === "number" ? start : `${start}-${stop}`;
  return `fibonacci-${bounds}.${SUFFIXES[format]}`;
}

function curl({ url, file }) {
  const output = file && `-o ${file} `;
  return `curl ${output}'${url}'`;
}

function python({ url, format, file }) {
  const opening = "import requests\n\n";
  const check = "response.raise_for_status()\n";
  if (file) {
    return (
      `${opening}with requests.get("${url}", stream=True, timeout=60) as response:\n    ${check}` +
      `    with open("${file}", "wb") as file:\n` +
      "        for piece in response.iter_content(65536):\n            file.write(piece)"
    );
  }
  const shown = format === "json" ? "print(response.json())" : 'print(response.text, end="")';
  return `${opening}response = requests.get("${url}", timeout=60)\n${check}${shown}`;
}

function javaScript({ url, format }) {
  const reader = { json: "json", binary: "arrayBuffer" }[format] ?? "text";
  return `const response = await fetch("${url}");\nconst answer = await response.${reader}();`;
}

function powerShell({ url, file }) {
  return file ? `Invoke-WebRequest '${url}' -OutFile ${file}` : `Invoke-RestMethod '${url}'`;
}
