/* Commands and code that request the same numbers: curl, Python, redis-cli. */

import { pathOf, spanOf } from "./query.js";
import { copyFrom } from "./clipboard.js";
import { byId, make } from "./dom.js";

const DEFAULT_SERVER = "127.0.0.1:11235";
const SUFFIXES = { json: "json", text: "txt", csv: "csv", ndjson: "ndjson", bfile: "txt", binary: "bin" };
/* Larger results go to a file; Python prints no int of more than 4,300 digits. */
const MAX_PRINTED_BYTES = 100_000;

export class Recipes {
  #codes = {};
  #server = DEFAULT_SERVER;
  #last = null;

  constructor() {
    for (const name of ["curl", "Python", "redis-cli"]) {
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

  /** Set the fibserver for Python and redis-cli. */
  useServer(address) {
    if (address && address !== this.#server) {
      this.#server = address;
      this.#write();
    }
  }

  /** Show the commands for a query and a format. */
  show(query, format, size) {
    this.#last = { query, format, isLarge: !(size <= MAX_PRINTED_BYTES), size };
    this.#write();
  }

  #write() {
    if (this.#last) {
      this.#codes.curl.textContent = curl(this.#last);
      this.#codes.Python.textContent = python(this.#last, this.#server);
      this.#codes["redis-cli"].textContent = redisCli(this.#last, this.#server);
    }
  }
}

function fileName(query, format) {
  const [start, stop] = spanOf(query);
  const bounds = query.kind === "number" ? start : `${start}-${stop}`;
  return `fibonacci-${bounds}.${SUFFIXES[format]}`;
}

function curl({ query, format, isLarge }) {
  const file = isLarge || format === "binary" ? `-o ${fileName(query, format)} ` : "";
  return `curl ${file}'${new URL(pathOf(query, format), document.baseURI)}'`;
}

function python({ query, format, isLarge }, server) {
  const [start, stop] = spanOf(query);
  const opening = `from fibclient import FibClient\n\nwith FibClient("${server}") as fib`;
  if (format === "json" && !isLarge) {
    const call = {
      first: `first(${stop})`,
      range: `range(${start}, ${stop})`,
      number: `number(${start})`,
    }[query.kind];
    // Python converts no int of so many digits to text, so the encoded digits are printed.
    const isLong = stop > 20_000;
    return `${opening}:\n    print(fib.${isLong ? `read(${start}, ${stop}, "text").decode()` : call})`;
  }
  const name = format === "json" ? "text" : format;
  return (
    `${opening}, open("${fileName(query, name)}", "wb") as file:\n` +
    `    for piece in fib.stream(${start}, ${stop}, "${name}"):\n        file.write(piece)`
  );
}

function redisCli({ query, format, isLarge, size }, server) {
  const [start, stop] = spanOf(query);
  const command = {
    first: `FIB.FIRST ${stop}`,
    range: `FIB.RANGE ${start} ${stop}`,
    number: `FIB.NUMBER ${start}`,
  }[query.kind];
  const base = `redis-cli ${optionsFor(server)}`;
  if (format === "json") {
    return isLarge ? `${base} --raw ${command} > ${fileName(query, "text")}` : `${base} ${command}`;
  }
  const whole = `${base} --raw ${command} FORMAT ${format}`;
  if (format === "binary" && size !== undefined) {
    // redis-cli appends a newline to every reply.
    return `${whole} | head -c ${size} > ${fileName(query, format)}`;
  }
  return isLarge ? `${whole} > ${fileName(query, format)}` : whole;
}

function optionsFor(server) {
  if (server.startsWith("unix:")) {
    return `-s ${server.slice("unix:".length)}`;
  }
  const colon = server.lastIndexOf(":");
  return `-h ${server.slice(0, colon).replace(/[[\]]/g, "")} -p ${server.slice(colon + 1)}`;
}
