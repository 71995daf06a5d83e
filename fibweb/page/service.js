/* Talking to the service: its answers, its errors in words, and whether it is there.

   Dispatches "up" and "down" on `reachability` when that changes. Whoever asked in vain asks again
   at "up"; here only the probe is repeated. */

const PROBE_PAUSES_MS = [500, 1000, 2000, 4000];

/** What went wrong, in words that can be shown. */
export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status; // 0 without an answer
  }

  /** Whether the same may work later. */
  get isPassing() {
    return [0, 502, 503, 504].includes(this.status);
  }
}

class Reachability extends EventTarget {
  isUp = true;
  #failures = 0;

  /** Note that numbers were answered, or why they were not. */
  note(problem) {
    if (problem?.isPassing) {
      this.#change(false, problem);
    } else {
      this.#failures = 0;
      this.#change(true, problem);
    }
  }

  #change(isUp, problem) {
    if (isUp !== this.isUp) {
      this.isUp = isUp;
      this.dispatchEvent(new CustomEvent(isUp ? "up" : "down", { detail: problem }));
      if (!isUp) {
        this.#probeLater();
      }
    }
  }

  /* A number may come from some cache while no server can be reached, so the probe asks for that.
     Its success does not shorten the pauses: only numbers do. */
  #probeLater() {
    const pause = PROBE_PAUSES_MS[Math.min(this.#failures, PROBE_PAUSES_MS.length - 1)];
    this.#failures += 1;
    setTimeout(async () => {
      const isReady = await fetch("readyz", { cache: "no-store" }).then(
        (response) => response.status < 500,
        () => false,
      );
      if (this.isUp) {
        return; // an answer came meanwhile
      }
      if (isReady) {
        this.#change(true, null);
      } else {
        this.#probeLater();
      }
    }, pause);
  }
}

export const reachability = new Reachability();

/** Return the JSON at a path. */
export async function getJson(path, options = {}) {
  return read(await request(path, options), (response) => response.json());
}

/** Return the text at a path. */
export async function getText(path, options = {}) {
  return read(await request(path, options), (response) => response.text());
}

/** Return the size in bytes of the answer at a path, which is not fetched. */
export async function sizeOf(path, options = {}) {
  const response = await request(path, { ...options, method: "HEAD" });
  return Number(response.headers.get("Content-Length"));
}

/* Ask, and throw a Problem unless there is a good answer. An abort stays what it is. With
   `isAside`, a good answer does not count as one with numbers. */
async function request(path, { isAside = false, ...options }) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    throw failure(error);
  }
  if (!response.ok && options.method === "HEAD") {
    // An error has its words in its body.
    return request(path, { ...options, method: "GET" });
  }
  const problem = response.ok ? null : new Problem(response.status, await detailOf(response));
  if (!isAside) {
    reachability.note(problem);
  }
  if (problem) {
    throw problem;
  }
  return response;
}

async function read(response, as) {
  try {
    return await as(response);
  } catch (error) {
    throw failure(error);
  }
}

function failure(error) {
  if (error.name === "AbortError") {
    return error;
  }
  const problem = new Problem(0, "The service does not answer.");
  reachability.note(problem);
  return problem;
}

async function detailOf(response) {
  try {
    const { title, detail } = await response.json();
    return detail || title;
  } catch {
    return `The service answered ${response.status} ${response.statusText}`.trimEnd();
  }
}
