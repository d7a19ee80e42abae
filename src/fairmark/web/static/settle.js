// @ts-check
// One disagreement: the level that counts, what was at fault, and on to the next. Every key is printed on its button.

import { sendAndGo } from "./sending.js";
import { draw, rangeOf, read, units } from "./text.js";

const desk = /** @type {HTMLElement} */ (document.querySelector(".desk"));
const form = /** @type {HTMLFormElement} */ (document.getElementById("decision"));
const word = /** @type {HTMLElement} */ (document.getElementById("word"));
const reason = /** @type {HTMLTextAreaElement} */ (document.getElementById("reason"));
const anchor = /** @type {HTMLTextAreaElement} */ (document.getElementById("anchor"));
const proposal = /** @type {HTMLElement} */ (document.getElementById("proposal"));
const levels = [.../** @type {NodeListOf<HTMLButtonElement>} */ (form.querySelectorAll("[data-level]"))];
const faults = [.../** @type {NodeListOf<HTMLButtonElement>} */ (form.querySelectorAll("[data-fault]"))];
const id = desk.dataset.id;

// the words that either side cites, shown in the response
const shown = read(/** @type {Element} */ (document.getElementById("output")));
draw("cited", [.../** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(".cited li"))]
  .map((quote) => rangeOf(shown, units(shown.text, Number(quote.dataset.start)), units(shown.text, Number(quote.dataset.end))))
  .filter((range) => range !== null));

/** @param {HTMLButtonElement[]} among @param {HTMLButtonElement} chosen */
function choose(among, chosen) {
  for (const button of among) button.setAttribute("aria-pressed", String(button === chosen));
  proposal.hidden = pressed(faults)?.dataset.fault !== "rubric";
  word.textContent = [...chosen.querySelectorAll("b, span")].map((part) => part.textContent).filter(Boolean).join(": ");
}

/** @param {HTMLButtonElement[]} among */
const pressed = (among) => among.find((button) => button.getAttribute("aria-pressed") === "true");

for (const button of levels) button.addEventListener("click", () => choose(levels, button));
for (const button of faults) button.addEventListener("click", () => choose(faults, button));
proposal.hidden = pressed(faults)?.dataset.fault !== "rubric";

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const level = pressed(levels), fault = pressed(faults);
  if (!level || !fault) {
    word.textContent = level ? "Say what was at fault: M, I or R." : "Choose the mark that counts.";
    return;
  }
  const words = anchor.value.trim();
  const proposed = fault.dataset.fault === "rubric" && words ? { level: level.dataset.level, text: words } : null;
  const said = { label: level.dataset.level, fault: fault.dataset.fault, reason: reason.value, anchor: proposed };
  void sendAndGo(`/settle/${id}/decide`, said, word);
});
document.getElementById("reopen")?.addEventListener("click", () => sendAndGo(`/settle/${id}/reopen`, {}, word));

const keys = {
  w: () => reason.focus(),
  a: () => !proposal.hidden && anchor.focus(),
  u: () => document.getElementById("reopen")?.click(),
  p: () => document.getElementById("before")?.click(),
  n: () => document.getElementById("after")?.click(),
};
document.addEventListener("keydown", (event) => {
  if (event.repeat) return; // a key that is held stores one disagreement, not those that follow
  const typing = event.target instanceof HTMLTextAreaElement;
  if (typing && event.key === "Escape") /** @type {HTMLElement} */ (event.target).blur();
  if (typing && event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  if (typing || event.ctrlKey || event.altKey || event.metaKey) return;
  const level = levels[Number(event.key) - 1];
  const fault = faults.find((button) => button.querySelector("kbd")?.textContent === event.key.toUpperCase());
  const own = keys[/** @type {keyof typeof keys} */ (event.key.toLowerCase())];
  if (level) choose(levels, level);
  else if (fault) choose(faults, fault);
  else if (event.key === "Enter" && !(event.target instanceof HTMLButtonElement || event.target instanceof HTMLAnchorElement)) form.requestSubmit();
  else if (own) own();
  else return;
  event.preventDefault();
});
desk.dataset.ready = "yes";
