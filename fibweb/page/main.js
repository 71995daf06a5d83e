/* Main module of the page: its form, its address, problems and outages. */

import { fieldsOf, fromSearch, titleOf, toSearch } from "./query.js";
import { byId, setText } from "./dom.js";
import { cleaned } from "./expressions.js";
import { limits } from "./limits.js";
import { LiveState } from "./live_state.js";
import { Result } from "./result.js";
import { Problem, reachability } from "./service.js";
import { SizeHint, hintFor } from "./size_hint.js";

const NAME = document.title;
const BACK_SHOWN_MS = 4000;
const PATIENCE_MS = 1000; // delay before the page shows that it waits

const form = byId("form");
const hint = new SizeHint();
const result = new Result(accept, showProblem);

let controller = new AbortController();
let wanted = ""; // the query string of the last query
let visited = location.search; // the query string of the last query that came from the address
let unanswered = null; // the query that failed because the service was down

/** Show the result of a query, or the problem that the service reports. The address and the title
    change only if there is a result. */
async function show(query) {
  controller.abort();
  controller = new AbortController();
  const { signal } = controller;
  unanswered = null;
  wanted = toSearch(query);
  showProblem(null);
  setText(byId("waiting"), "");
  const waiting = setTimeout(() => setText(byId("waiting"), "Waiting for the service …"), PATIENCE_MS);
  signal.addEventListener("abort", () => clearTimeout(waiting));
  try {
    const { offers } = hintFor(query, await limits());
    if (offers.length && query.kind !== "first") {
      throw new Problem(400, ""); // the hint has the reason, and smaller queries
    }
    // Instead of a list that is too long: F(N), of whose digits both ends are known.
    await result.show(offers.length ? { kind: "number", number: query.first } : query, signal);
  } catch (error) {
    if (error.name === "AbortError") {
      return;
    }
    if (error.isTemporary) {
      unanswered = query;
    } else {
      if (toSearch(query) === address()) {
        result.clear(); // the previous result belongs to another address
        document.title = NAME;
      }
      showProblem(error);
    }
  }
  clearTimeout(waiting);
  setText(byId("waiting"), "");
}

/** Set the address and the title of the page. */
function accept(query) {
  if (toSearch(query) !== address()) {
    const change = wanted === address() ? "replaceState" : "pushState";
    history[change](null, "", toSearch(query));
  }
  visited = location.search;
  document.title = `${titleOf(query)} – ${NAME}`;
}

/** Return the query string of the page's address in its usual form. */
function address() {
  return toSearch(fromSearch(location.search));
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

/** Return the query in the form. */
function typed() {
  const kind = form.elements.kind.value;
  const values = fieldsOf(kind).map((field) => [field, cleaned(byId(field).value)]);
  return { kind, ...Object.fromEntries(values) };
}

function chooseKind() {
  for (const field of form.querySelectorAll(".field")) {
    field.hidden = field.dataset.kind !== form.elements.kind.value;
  }
  hint.show(typed());
}

/** Run the query of a query string. */
function go(search) {
  enter(fromSearch(search));
  show(fromSearch(search));
}

form.elements.kind.forEach((kind) => kind.addEventListener("change", chooseKind));
form.addEventListener("input", () => hint.later(typed()));
form.addEventListener("submit", (event) => {
  event.preventDefault();
  hint.show(typed());
  show(typed());
});

// Links to queries do not reload the page.
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href^='?']");
  const isPlain = !(event.ctrlKey || event.metaKey || event.shiftKey || event.altKey);
  if (link && isPlain) {
    event.preventDefault();
    document.querySelector("dialog[open]")?.close();
    go(link.search);
  }
});

addEventListener("popstate", () => {
  // Links to a section of the page change only the hash; the form keeps what was typed.
  if (location.search !== visited) {
    visited = location.search;
    go(location.search);
  }
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

new LiveState(({ public_server: address }) => address && result.addRedis(address));
go(location.search);
