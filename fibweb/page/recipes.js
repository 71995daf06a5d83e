/* How the same is asked for from a shell, from Python, and with any Redis client. */

import { pathOf, spanOf } from "./query.js";
import { copyFrom } from "./clipboard.js";
import { byId, make } from "./dom.js";

const DEFAULT_SERVER = "127.0.0.1:11235";
const SUFFIXES = { json: "json", text: "txt", csv: "csv", ndjson: "ndjson", bfile: "txt", binary: "bin" };
/* What a terminal is spared; Python itself prints no int of more than 4,300 digits. */
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
      block.tabIndex = 0; // it may scroll
      block.setAttribute("role", "group");
      block.setAttribute("aria-label", `For ${name}`);
      byId("recipes").append(make("div", "recipe", make("h3", "", name), block, button));
      this.#codes[name] = code;
    }
  }

  /** Ask that server directly. */
  useServer(address) {
    if (address && address !== this.#server) {
      this.#server = address;
      this.#write();
    }
  }

  /** Say how to ask for that. */
  show(ask, format, size) {
    this.#last = { ask, format, isLarge: !(size <= MAX_PRINTED_BYTES), size };
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

function fileName(ask, format) {
  const [start, stop] = spanOf(ask);
  const bounds = ask.kind === "number" ? start : `${start}-${stop}`;
  return `fibonacci-${bounds}.${SUFFIXES[format]}`;
}

function curl({ ask, format, isLarge }) {
  const file = isLarge || format === "binary" ? `-o ${fileName(ask, format)} ` : "";
  return `curl ${file}'${new URL(pathOf(ask, format), document.baseURI)}'`;
}

function python({ ask, format, isLarge }, server) {
  const [start, stop] = spanOf(ask);
  const opening = `from fibclient import FibClient\n\nwith FibClient("${server}") as fib`;
  if (format === "json" && !isLarge) {
    const call = {
      first: `first(${stop})`,
      range: `range(${start}, ${stop})`,
      number: `number(${start})`,
    }[ask.kind];
    // More digits than Python turns into text: the service's own digits are printed.
    const isLong = stop > 20_000;
    return `${opening}:\n    print(fib.${isLong ? `read(${start}, ${stop}, "text").decode()` : call})`;
  }
  const name = format === "json" ? "text" : format;
  return (
    `${opening}, open("${fileName(ask, name)}", "wb") as file:\n` +
    `    for piece in fib.stream(${start}, ${stop}, "${name}"):\n        file.write(piece)`
  );
}

function redisCli({ ask, format, isLarge, size }, server) {
  const [start, stop] = spanOf(ask);
  const command = {
    first: `FIB.FIRST ${stop}`,
    range: `FIB.RANGE ${start} ${stop}`,
    number: `FIB.NUMBER ${start}`,
  }[ask.kind];
  const base = `redis-cli ${placeOf(server)}`;
  if (format === "json") {
    return isLarge ? `${base} --raw ${command} > ${fileName(ask, "text")}` : `${base} ${command}`;
  }
  const whole = `${base} --raw ${command} FORMAT ${format}`;
  if (format === "binary" && size !== undefined) {
    // It puts a newline behind every reply.
    return `${whole} | head -c ${size} > ${fileName(ask, format)}`;
  }
  return isLarge ? `${whole} > ${fileName(ask, format)}` : whole;
}

function placeOf(server) {
  if (server.startsWith("unix:")) {
    return `-s ${server.slice("unix:".length)}`;
  }
  const colon = server.lastIndexOf(":");
  return `-h ${server.slice(0, colon).replace(/[[\]]/g, "")} -p ${server.slice(colon + 1)}`;
}
