/* Helpers for DOM elements. */

/** Return the element with an id. */
export function byId(id) {
  return document.getElementById(id);
}

/** Create an element with a class, and children or text. */
export function make(tag, className = "", ...children) {
  const element = document.createElement(tag);
  if (className) {
    element.className = className;
  }
  element.append(...children);
  return element;
}

/** Create an SVG element with attributes. */
export function makeSvg(tag, attributes = {}, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) {
    element.setAttribute(name, value);
  }
  element.textContent = text;
  return element;
}

/** Set the text of an element if it differs, so that a live region announces it once. */
export function setText(element, text) {
  if (element.textContent !== text) {
    element.textContent = text;
  }
}

/** Announce a text to screen readers. */
export function announce(text) {
  setText(byId("announcement"), text);
}
