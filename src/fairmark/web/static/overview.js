// @ts-check
// The owner's buttons. Whatever changes something is a request of its own, and says how it went.

import { send, sendAndGo } from "./sending.js";

const word = /** @type {HTMLElement} */ (document.getElementById("word"));

document.addEventListener("click", async (event) => {
  const button = event.target instanceof Element ? /** @type {HTMLElement | null} */ (event.target.closest("[data-do]")) : null;
  if (!button) return;
  const person = button.dataset.person ?? "";
  if (button.dataset.do === "link") {
    const made = await send("/links", { person }, word);
    if (!made) return;
    const address = /** @type {HTMLInputElement} */ (document.getElementById("address"));
    /** @type {HTMLElement} */ (document.getElementById("whose")).textContent = person;
    /** @type {HTMLElement} */ (document.getElementById("link")).hidden = false;
    address.value = made.link;
    address.focus();
    address.select();
    word.textContent = `A new link for ${person} stands below.`;
  } else if (button.dataset.do === "revoke") {
    const made = await send("/revoke", { person }, word);
    if (made) word.textContent = `${person} is signed out. A new link lets ${person} in again.`;
  } else if (button.dataset.do === "open") {
    await sendAndGo("/overview/open", {}, word);
  }
});

/** @type {HTMLFormElement} */ (document.getElementById("draw")).addEventListener("submit", async (event) => {
  event.preventDefault();
  const share = Number(/** @type {HTMLInputElement} */ (document.getElementById("share")).value) / 100;
  const made = await send("/overview/draw", { share }, word);
  if (made) word.textContent = made.given_out ? `${made.given_out} responses are newly given out.` : "So much is given out already.";
});
