/* Small helpers for the page's elements. */

/** The element with an id. */
export function byId(id) {
  return document.getElementById(id);
}

/** Make an element: its class, and its children or text. */
export function make(tag, className = "", ...children) {
  const element = document.createElement(tag);
  if (className) {
    element.className = className;
  }
  element.append(...children);
  return element;
}

/** Make an SVG element with attributes. */
export function makeSvg(tag, attributes = {}, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) {
    element.setAttribute(name, value);
  }
  element.textContent = text;
  return element;
}

/** Change a text only where it differs, so that a live region speaks once. */
export function setText(element, text) {
  if (element.textContent !== text) {
    element.textContent = text;
  }
}

/** Tell people who listen rather than look. */
export function announce(text) {
  setText(byId("announcement"), text);
}
