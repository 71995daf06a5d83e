/* Main module of the page: runs the query in its address and shows the result. */

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

const LONG_LIST = 50; // lists of this length have a field to go to an n
const BACK_SHOWN_MS = 4000;
const PATIENCE_MS = 1000; // delay before the page shows that it waits

const form = byId("form");
const dialog = new NumberDialog();
const numbers = new NumbersView(byId("numbers"), (n) => dialog.open(n), showProblem);
const digits = new DigitsView(byId("digits"));
const growth = new Growth();
const recipes = new Recipes();
const formats = new Formats((format, size) => recipes.show(shown, format, size));

let shown = DEFAULT;
let controller = new AbortController();
let unanswered = null; // the query that failed because the service was down

/** Show the result of a query, or the problem that the service reports. */
async function show(query) {
  controller.abort();
  controller = new AbortController();
  const { signal } = controller;
  unanswered = null;
  showProblem(null);
  setText(byId("waiting"), "");
  const waiting = setTimeout(() => setText(byId("waiting"), "Waiting for the service …"), PATIENCE_MS);
  signal.addEventListener("abort", () => clearTimeout(waiting));
  try {
    await sizeOf(pathOf(query), { signal });
    const [start, stop] = spanOf(query);
    const isNumber = query.kind === "number";
    const isShown = isNumber && digitsOf(start) <= MAX_SHOWN_DIGITS;
    const text = isShown ? await fetchDigits(start, { signal }) : "";
    shown = query;
    present(start, stop, isNumber, text);
  } catch (error) {
    if (error.name === "AbortError") {
      return;
    }
    if (error.isTemporary) {
      unanswered = query;
    } else {
      showProblem(error);
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

/** Show the problem that the service reports, and mark its fields; null clears it. */
function showProblem(problem) {
  const words = problem?.message ?? "";
  setText(byId("problem"), words);
  const inputs = [...form.querySelectorAll(".field input")];
  // A message such as "start must be …" begins with the field that is wrong.
  const blamed = inputs.filter((input) => words.startsWith(`${input.id} `));
  for (const input of inputs) {
    const isWrong = problem !== null && (!blamed.length || blamed.includes(input));
    input.setAttribute("aria-invalid", isWrong);
  }
}

/** Fill the form with a query. */
function enter(query) {
  form.elements.kind.value = query.kind;
  for (const field of fieldsOf(query.kind)) {
    byId(field).value = query[field];
  }
  chooseKind();
}

function chooseKind() {
  for (const field of form.querySelectorAll(".field")) {
    field.hidden = field.dataset.kind !== form.elements.kind.value;
  }
}

/** Run the query of a query string, and add it to the history. */
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
  outage.textContent = `${reason}. This page continues by itself when the service is back.`;
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
