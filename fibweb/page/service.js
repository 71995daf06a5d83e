/* Requests to the service, and whether it is reachable.

   `reachability` dispatches "up" and "down". On "up", callers repeat their failed requests; this
   module repeats only the probe. */

const PROBE_PAUSES_MS = [500, 1000, 2000, 4000];

/** Error of a request, with a message for users. */
export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status; // 0 without a response
  }

  /** Whether the request may succeed later. */
  get isTemporary() {
    return [0, 502, 503, 504].includes(this.status);
  }
}

class Reachability extends EventTarget {
  isUp = true;
  #failures = 0;

  /** Note that numbers were answered, or why they were not. */
  record(problem) {
    if (problem?.isTemporary) {
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

  /* Numbers may come from a cache while no fibserver can be reached, so the probe requests /readyz.
     A successful probe does not shorten the pauses; only a request for numbers does. */
  #probeLater() {
    const pause = PROBE_PAUSES_MS[Math.min(this.#failures, PROBE_PAUSES_MS.length - 1)];
    this.#failures += 1;
    setTimeout(async () => {
      const isReady = await fetch("readyz", { cache: "no-store" }).then(
        (response) => response.status < 500,
        () => false,
      );
      if (this.isUp) {
        return; // another request has succeeded meanwhile
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

/** Return the size in bytes of the response at a path, which is not fetched. */
export async function sizeOf(path, options = {}) {
  const response = await request(path, { ...options, method: "HEAD" });
  return Number(response.headers.get("Content-Length"));
}

/* Send a request, and throw a Problem unless it succeeds; an AbortError is thrown unchanged.
   With `isAside`, success is not recorded in `reachability`, since it needs no fibserver. */
async function request(path, { isAside = false, ...options }) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    throw failure(error);
  }
  if (!response.ok && options.method === "HEAD") {
    // The message is in the body, which a response to HEAD does not have.
    return request(path, { ...options, method: "GET" });
  }
  const problem = response.ok ? null : new Problem(response.status, await detailOf(response));
  if (!isAside || problem?.isTemporary) {
    reachability.record(problem);
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
  reachability.record(problem);
  return problem;
}

async function detailOf(response) {
  try {
    const { title, detail } = await response.json();
    // The example at the end is for those who type addresses, not for those who fill in a form.
    return detail?.replace(/, e\.g\. \/\S+$/, "") || title;
  } catch {
    return `The service answered ${response.status} ${response.statusText}`.trimEnd();
  }
}
