/* Cards of the fibservers: state and load of each. */

import { byId, make, setText } from "./dom.js";
import { grouped, readableBytes } from "./sequence.js";

export class ServerCards {
  #cards = new Map(); // by address
  #requests = new Map(); // by address: [time in ms, total] of the last reading

  /** Show a reading of the servers, taken at `now` ms. */
  show(servers, now) {
    const names = new Set(servers.map((server) => server.name));
    for (const [name, card] of this.#cards) {
      if (!names.has(name)) {
        card.element.remove();
        this.#cards.delete(name);
      }
    }
    for (const server of servers) {
      if (!this.#cards.has(server.name)) {
        const card = new Card(server.name);
        this.#cards.set(server.name, card);
        byId("servers").append(card.element);
      }
      this.#cards.get(server.name).show(server, this.#rate(server, now));
    }
  }

  /** Show that the states are old. */
  markStale() {
    for (const card of this.#cards.values()) {
      card.markStale();
    }
  }

  #rate(server, now) {
    const before = this.#requests.get(server.name);
    this.#requests.set(server.name, [now, server.requests_total]);
    return before && perSecond(before, [now, server.requests_total]);
  }
}

/** Return the rate between two readings [time in ms, count], or undefined if it is unknown. */
export function perSecond([then, before], [now, after]) {
  const rate = ((after - before) * 1000) / (now - then);
  return rate >= 0 && Number.isFinite(rate) ? rate : undefined; // negative after a restart
}

class Card {
  element = make("article", "card server");
  #badge = make("span", "badge");
  #figures = make("dl");
  #meters = make("div", "meters");

  constructor(name) {
    const title = make("h3", "", name);
    this.element.append(
      make("div", "server-head", title, this.#badge),
      this.#meters,
      this.#figures,
    );
  }

  markStale() {
    setText(this.#badge, `was ${this.element.dataset.state}`);
  }

  show(server, rate) {
    const isUp = server.state === "up";
    this.element.dataset.state = isUp ? "up" : "down";
    setText(this.#badge, server.state ?? "unknown");
    this.#meters.replaceChildren(
      ...meter("Workers busy", server.workers_busy, server.workers, grouped),
      ...meter("Numbers in memory", server.resident_bytes, server.memory_limit_bytes, readableBytes),
    );
    const figures = [
      ["Requests/s", rate === undefined ? undefined : Math.round(rate)],
      ["Clients", server.clients],
      ["In flight", server.in_flight],
      ["Answered", server.succeeded],
      ["Failed", server.failed],
    ].filter(([, value]) => value !== undefined && value !== null);
    this.#figures.replaceChildren(
      ...figures.map(([name, value]) =>
        make("div", "", make("dt", "", name), make("dd", "", grouped(value))),
      ),
    );
  }
}

function meter(name, value, limit, words) {
  if (!Number.isFinite(value) || !(limit > 0)) {
    return [];
  }
  const fill = make("div", "fill");
  fill.style.width = `${Math.min(100, (100 * value) / limit)}%`;
  const track = make("div", "track", fill);
  track.setAttribute("aria-hidden", "true");
  const text = make("p", "", make("span", "", name), make("b", "", `${words(value)} of ${words(limit)}`));
  return [make("div", "meter", text, track)];
}
