/* Live state of the service, fetched every two seconds while the page is visible. */

import { byId, make, setText } from "./dom.js";
import { grouped, readableBytes } from "./sequence.js";
import { ServerCards, perSecond } from "./server_cards.js";
import { getJson } from "./service.js";
import { Sparkline } from "./sparkline.js";

const PERIOD_MS = 2000;

const GAUGES = [
  { name: "Requests/s", value: ({ rate }) => rate, words: (rate) => grouped(Math.round(rate)) },
  { name: "In flight", value: ({ state }) => state.in_flight, words: grouped },
  {
    name: "Latency, p99",
    value: ({ state }) => state.latency_seconds?.p99,
    words: readableSeconds,
    note: ({ state }) => {
      const median = state.latency_seconds?.p50;
      return Number.isFinite(median) ? `half within ${readableSeconds(median)}` : "";
    },
  },
  { name: "Memory", value: ({ state }) => state.memory_bytes, words: readableBytes },
  {
    name: "From the cache",
    value: ({ state }) => shareFromCache(state.cache),
    words: (share) => `${Math.round(100 * share)} %`,
    note: ({ state }) =>
      Number.isFinite(state.cache?.size_bytes) ? `${readableBytes(state.cache.size_bytes)} kept` : "",
  },
];

export class LiveState {
  #gauges = GAUGES.map((gauge) => new Gauge(gauge));
  #cards = new ServerCards();
  #requests = null; // [time in ms, total] of the last reading
  #isPaused = false;
  #readAt = null;
  #onState;

  /** @param onState is called with each state that is read */
  constructor(onState) {
    this.#onState = onState;
    byId("gauges").append(...this.#gauges.map((gauge) => gauge.element));
    byId("pause").addEventListener("click", () => {
      this.#isPaused = !this.#isPaused;
      byId("pause").setAttribute("aria-pressed", this.#isPaused);
      this.#date(this.#isPaused ? "paused" : "");
    });
    this.#readAgain();
  }

  async #readAgain() {
    if (!this.#isPaused && !document.hidden) {
      try {
        this.#show(await getJson("status", { cache: "no-store", isAside: true }));
        this.#date("");
      } catch {
        setHealth("down", "The service does not answer");
        this.#date("the service does not answer");
        this.#cards.markStale();
      }
    }
    setTimeout(() => this.#readAgain(), PERIOD_MS);
  }

  /* Show when the values were read, and why there are no newer ones; "" if they are current. */
  #date(reason) {
    byId("state").dataset.isStale = reason !== "";
    const when = this.#readAt ? `Values of ${this.#readAt.toLocaleTimeString("en-GB")}` : "No values";
    setText(byId("state-note"), reason && `${when}: ${reason}.`);
  }

  #show(state) {
    this.#readAt = new Date();
    const now = performance.now();
    const reading = [now, state.requests_total];
    const rate = this.#requests ? perSecond(this.#requests, reading) : undefined;
    this.#requests = reading;
    for (const gauge of this.#gauges) {
      gauge.show({ state, rate });
    }
    this.#cards.show(state.servers, now);
    this.#onState(state);
    const up = state.servers.filter((server) => server.state === "up");
    const [some, all] = [up.length, state.servers.length];
    if (!some) {
      setHealth("down", "No server can be reached");
    } else {
      setHealth(some === all ? "up" : "part", `${some} of ${all} server${all === 1 ? "" : "s"} up`);
    }
  }
}

class Gauge {
  #gauge;
  #value = make("strong", "", "–");
  #note = make("small", "quiet");
  #sparkline = new Sparkline();
  element;

  constructor(gauge) {
    this.#gauge = gauge;
    const text = make("p", "", make("span", "", gauge.name), this.#value, this.#note);
    this.element = make("div", "card gauge", text, this.#sparkline.element);
  }

  show(reading) {
    const value = this.#gauge.value(reading);
    const isKnown = Number.isFinite(value);
    setText(this.#value, isKnown ? this.#gauge.words(value) : "–");
    setText(this.#note, this.#gauge.note?.(reading) ?? "");
    if (isKnown) {
      this.#sparkline.add(value);
    }
  }
}

function setHealth(state, words) {
  byId("health").dataset.state = state;
  setText(byId("health").querySelector("[role=status]"), words);
}

function shareFromCache(cache) {
  const { hits = 0, extensions = 0, misses = 0 } = cache ?? {};
  return hits / (hits + extensions + misses);
}

function readableSeconds(seconds) {
  if (seconds < 0.001) {
    return `${Math.round(seconds * 1e6)} µs`;
  }
  return seconds < 1 ? `${Number((seconds * 1000).toPrecision(2))} ms` : `${seconds.toFixed(1)} s`;
}
