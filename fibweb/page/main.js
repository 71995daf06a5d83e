/* The page as a whole: from what is asked for to everything that shows it. */

import { DEFAULT, cleaned, fieldsOf, fromSearch, pathOf, spanOf, titleOf, toSearch } from "./query.js";
import { DigitsView } from "./digits_view.js";
import { announce, byId, setText } from "./dom.js";
import { Formats } from "./formats.js";
import { Growth } from "./growth.js";
import { LiveState } from "./live_state.js";
import { MAX_SHOWN_DIGITS, NumberDialog, fetchDigits } from "./number_dialog.js";
import { NumbersView } from "./numbers_view.js";
import { Recipes } from "./recipes.js";
import { counted, digitsOf } from "./sequence.js";
import { reachability, sizeOf } from "./service.js";

const LONG_LIST = 50; // from here on one may want to go to some n
const BACK_SHOWN_MS = 4000;
const PATIENCE_MS = 1000; // then one wants to know that something goes on

const form = byId("form");
const dialog = new NumberDialog();
const numbers = new NumbersView(byId("numbers"), (n) => dialog.open(n), refuse);
const digits = new DigitsView(byId("digits"));
const growth = new Growth();
const recipes = new Recipes();
const formats = new Formats((format, size) => recipes.show(shown, format, size));

let shown = DEFAULT;
let controller = new AbortController();
let unanswered = null; // what was asked for while the service was away

/** Ask the service whether it would answer, and show it. */
async function show(ask) {
  controller.abort();
  controller = new AbortController();
  const { signal } = controller;
  unanswered = null;
  refuse(null);
  setText(byId("waiting"), "");
  const waiting = setTimeout(() => setText(byId("waiting"), "Still asking …"), PATIENCE_MS);
  signal.addEventListener("abort", () => clearTimeout(waiting));
  try {
    await sizeOf(pathOf(ask), { signal });
    const [start, stop] = spanOf(ask);
    const isNumber = ask.kind === "number";
    const isShown = isNumber && digitsOf(start) <= MAX_SHOWN_DIGITS;
    const text = isShown ? await fetchDigits(start, { signal }) : "";
    shown = ask;
    present(start, stop, isNumber, text);
  } catch (error) {
    if (error.name === "AbortError") {
      return;
    }
    if (error.isPassing) {
      unanswered = ask;
    } else {
      refuse(error);
    }
  }
  clearTimeout(waiting);
  setText(byId("waiting"), "");
}

function present(start, stop, isNumber, text) {
  byId("numbers").hidden = isNumber || start === stop;
  byId("digits").hidden = !text;
  byId("empty").hidden = start !== stop;
  byId("take").hidden = false;
  byId("jump").hidden = isNumber || stop - start < LONG_LIST;
  setText(byId("result-title"), titleOf(shown));
  setText(byId("result-summary"), summary(start, stop, isNumber, text));
  if (isNumber) {
    numbers.clear();
    digits.show(text, titleOf(shown));
  } else {
    digits.show("", "Digits");
    numbers.show(start, stop);
  }
  growth.show(start, stop);
  formats.offer(shown);
  announce(`${titleOf(shown)}: ${byId("result-summary").textContent}`);
}

function summary(start, stop, isNumber, text) {
  if (isNumber) {
    return text ? counted(text.length, "digit") : "Too long to show here: download it";
  }
  if (start === stop) {
    return "Nothing to show";
  }
  const last = counted(digitsOf(stop - 1), "digit");
  return stop - start === 1 ? last : `The last has ${last}. Choose one to see it in full.`;
}

/** Say why the service will not answer; with null, say nothing. */
function refuse(problem) {
  const words = problem?.message ?? "";
  setText(byId("refusal"), words);
  const inputs = [...form.querySelectorAll(".field input")];
  // "start must be …" blames one of two.
  const blamed = inputs.filter((input) => words.startsWith(`${input.id} `));
  for (const input of inputs) {
    const isWrong = problem !== null && (!blamed.length || blamed.includes(input));
    input.setAttribute("aria-invalid", isWrong);
  }
}

/** Write an ask into the form. */
function enter(ask) {
  form.elements.kind.value = ask.kind;
  for (const field of fieldsOf(ask.kind)) {
    byId(field).value = ask[field];
  }
  chooseKind();
}

function chooseKind() {
  for (const field of form.querySelectorAll(".field")) {
    field.hidden = field.dataset.kind !== form.elements.kind.value;
  }
}

/** Show an ask, and give it an address of its own. */
function go(search) {
  if (search !== location.search) {
    history.pushState(null, "", search);
  }
  enter(fromSearch(search));
  show(fromSearch(search));
}

form.addEventListener("change", chooseKind);
form.addEventListener("submit", (event) => {
  event.preventDefault();
  const kind = form.elements.kind.value;
  const values = fieldsOf(kind).map((field) => [field, cleaned(byId(field).value)]);
  go(toSearch({ kind, ...Object.fromEntries(values) }));
});

for (const example of document.querySelectorAll(".examples a")) {
  example.addEventListener("click", (event) => {
    if (!event.ctrlKey && !event.metaKey && !event.shiftKey) {
      event.preventDefault();
      go(example.search);
    }
  });
}

byId("jump").addEventListener("submit", (event) => {
  event.preventDefault();
  const n = Number(cleaned(byId("jump-to").value));
  if (Number.isInteger(n)) {
    numbers.goTo(n);
  }
});

addEventListener("popstate", () => {
  enter(fromSearch(location.search));
  show(fromSearch(location.search));
});

const outage = byId("outage");

reachability.addEventListener("down", ({ detail: problem }) => {
  outage.dataset.state = "down";
  outage.hidden = false;
  const reason = problem.message.replace(/\.$/, "");
  outage.textContent = `${reason}. This page goes on by itself when the service is back.`;
});

reachability.addEventListener("up", () => {
  outage.dataset.state = "up";
  outage.textContent = "The service is back.";
  setTimeout(() => {
    outage.hidden = reachability.isUp;
  }, BACK_SHOWN_MS);
  if (unanswered) {
    show(unanswered);
  }
});

new LiveState((address) => recipes.useServer(address));
enter(fromSearch(location.search));
show(fromSearch(location.search));
