/* Commands and code that request the same numbers: curl, Python, JavaScript, PowerShell; and
   redis-cli, if the operator has set an address at which visitors reach a fibserver. */

import { pathOf, spanOf } from "./query.js";
import { copyFrom } from "./clipboard.js";
import { byId, make } from "./dom.js";

const SUFFIXES = { json: "json", text: "txt", csv: "csv", ndjson: "ndjson", bfile: "txt", binary: "bin" };
const MAX_PRINTED_BYTES = 100_000; // larger results go to a file

const RECIPES = { curl, Python: python, JavaScript: javaScript, PowerShell: powerShell };

export class Recipes {
  #recipes = { ...RECIPES };
  #codes = {};
  #wanted = null; // what the commands request

  constructor() {
    for (const name of Object.keys(RECIPES)) {
      this.#add(name);
    }
  }

  /** Add commands for redis-cli, unless they are there already.

      @param address of a fibserver for visitors */
  addRedis(address) {
    if (!this.#recipes["redis-cli"]) {
      this.#recipes["redis-cli"] = redisCliAt(address);
      this.#add("redis-cli");
      this.#write(this.#wanted);
    }
  }

  #add(name) {
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

  /** Show the commands for what is known of a number without its digits.

      @param path relative to the page
      @param words of the command over RESP */
  show(path, words) {
    this.#write({ url: urlOf(path), format: "json", file: "", words });
  }

  /** Show the commands for a query and a format.

      @param size of the result in bytes, or undefined */
  showNumbers(query, format, size) {
    const isPrinted = format !== "binary" && size <= MAX_PRINTED_BYTES;
    this.#write({
      url: urlOf(pathOf(query, format)),
      format,
      file: isPrinted ? "" : fileName(query, format),
      words: wordsOf(query, format),
    });
  }

  #write(wanted) {
    this.#wanted = wanted;
    for (const [name, recipe] of Object.entries(wanted ? this.#recipes : {})) {
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

/* The words of the command over RESP; without a format its reply has an element for each number. */
function wordsOf(query, format) {
  const [start, stop] = spanOf(query);
  const words =
    { first: `FIB.FIRST ${stop}`, number: `FIB.NUMBER ${start}` }[query.kind] ??
    `FIB.RANGE ${start} ${stop}`;
  const hasFormat = !["json", "binary"].includes(format);
  return hasFormat ? `${words} FORMAT ${format}` : words;
}

function redisCliAt(address) {
  const [, host, port] = address.match(/^\[?(.*?)\]?:(\d+)$/);
  return ({ words, file }) => {
    const raw = words.includes(" FORMAT ") ? " --raw" : ""; // without it the text is escaped
    const target = file && " > " + file;
    return `redis-cli -h ${host} -p ${port}${raw} ${words}${target}`;
  };
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
