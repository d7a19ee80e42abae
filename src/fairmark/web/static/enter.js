// @ts-check
// The token stands behind the `#`, which browsers send to nobody; it leaves this page in one request and the address at once.

import { send } from "./sending.js";

const word = /** @type {HTMLElement} */ (document.getElementById("word"));
const token = location.hash.slice(1);
history.replaceState(null, "", "/enter");

async function enter() {
  if (!token) {
    word.textContent = "Open the link you were given. If you have none, ask whoever runs this study for one.";
    return;
  }
  const made = await send("/enter", { token }, word);
  if (made) location.replace(made.go);
}

enter();
