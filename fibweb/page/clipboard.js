/* Copying, also where the page came over plain HTTP and browsers keep the clipboard back. */

import { announce } from "./dom.js";

const SHOWN_MS = 2000;

/** Copy what a promise gives, and say on the button how it went. */
export async function copyFrom(button, promise) {
  const label = button.dataset.label ?? button.textContent;
  button.dataset.label = label;
  button.textContent = "Copying";
  announce(""); // so that the same words are heard again
  let outcome = "Copied";
  try {
    await write(promise);
  } catch (error) {
    outcome = "Not copied";
    announce(`Not copied: ${error.message}`);
  }
  button.textContent = outcome;
  if (outcome === "Copied") {
    announce("Copied to the clipboard");
  }
  setTimeout(() => {
    button.textContent = label;
  }, SHOWN_MS);
}

async function write(promise) {
  if (navigator.clipboard?.write) {
    // Given a promise, browsers remember that a person pressed the button before it was kept.
    const blob = promise.then((text) => new Blob([text], { type: "text/plain" }));
    await navigator.clipboard.write([new ClipboardItem({ "text/plain": blob })]);
    return;
  }
  const area = document.createElement("textarea");
  area.value = await promise;
  area.className = "unseen";
  const focused = document.activeElement;
  // Inside an open dialog nothing outside of it can be selected.
  (document.querySelector("dialog[open]") ?? document.body).append(area);
  area.select();
  const isCopied = document.execCommand("copy");
  area.remove();
  focused?.focus();
  if (!isCopied) {
    throw new Error("the browser does not allow it");
  }
}
