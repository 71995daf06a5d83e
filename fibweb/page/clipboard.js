/* Copy to the clipboard, also on pages without TLS, where browsers have no clipboard API. */

import { announce } from "./dom.js";

const SHOWN_MS = 2000;

/** Copy the text of a promise; the button shows whether that succeeded. */
export async function copyFrom(button, promise) {
  const label = button.dataset.label ?? button.textContent;
  button.dataset.label = label;
  button.textContent = "Copying";
  announce(""); // so that an equal text is announced again
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
    // Browsers permit this only after a click; a promise may be fulfilled after that has expired.
    const blob = promise.then((text) => new Blob([text], { type: "text/plain" }));
    await navigator.clipboard.write([new ClipboardItem({ "text/plain": blob })]);
    return;
  }
  const area = document.createElement("textarea");
  area.value = await promise;
  area.className = "unseen";
  const focused = document.activeElement;
  // While a dialog is open, nothing outside of it can be selected.
  (document.querySelector("dialog[open]") ?? document.body).append(area);
  area.select();
  const isCopied = document.execCommand("copy");
  area.remove();
  focused?.focus();
  if (!isCopied) {
    throw new Error("the browser does not allow it");
  }
}
