// @ts-check
// Notes are put under codes: by M and the beginning of a name, or by dragging. Each step is stored before the page shows it.

import { isWriting } from "./keys.js";
import { sendAndGo, uuid } from "./sending.js";

const cards = [.../** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-note]"))];
const codes = [.../** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-code]"))];
const word = /** @type {HTMLElement} */ (document.getElementById("word"));
const ask = /** @type {HTMLDialogElement} */ (document.getElementById("ask"));
const field = /** @type {HTMLInputElement} */ (document.getElementById("name"));
const hint = /** @type {HTMLElement} */ (document.getElementById("hint"));
const PLACE = "fairmark:note";

/** @param {HTMLElement} card */
const box = (card) => /** @type {HTMLInputElement} */ (card.querySelector("input[type=checkbox]"));
const here = () => cards.find((card) => card.contains(document.activeElement));

/** The notes that are chosen, or else the one where the reader is. */
function chosen() {
  const ticked = cards.filter((card) => box(card).checked);
  const at = here();
  return (ticked.length ? ticked : at ? [at] : []).map((card) => card.dataset.note ?? "");
}

/** @param {string} address @param {Record<string, unknown>} said */
const send = (address, said) => sendAndGo(address, said, word);

/** @param {string} typed */
const named = (typed) => codes.find((code) => code.dataset.name?.toLowerCase() === typed.toLowerCase());

/** The code that is meant by the beginning of a name; several or none: nothing. @param {string} typed */
function meant(typed) {
  const begin = codes.filter((code) => code.dataset.name?.toLowerCase().startsWith(typed.toLowerCase()));
  return named(typed) ?? (typed && begin.length === 1 ? begin[0] : undefined);
}

/** @type {(typed: string) => void} */
let decide = () => {};
let makes = false;

/** @param {string} title @param {string} filled @param {boolean} mayMake @param {(typed: string) => void} then */
function open(title, filled, mayMake, then) {
  /** @type {HTMLElement} */ (document.getElementById("ask-title")).textContent = title;
  field.value = filled;
  hint.textContent = "";
  decide = then;
  makes = mayMake;
  ask.returnValue = "";
  ask.showModal();
  field.select();
}

field.addEventListener("input", () => {
  const typed = field.value.trim(), code = meant(typed);
  hint.textContent = !typed ? "" : makes && code ? `Goes under “${code.dataset.name}”.` : makes ? `Makes a new code “${typed}”.` : "";
});
ask.addEventListener("close", () => {
  if (ask.returnValue === "ok" && field.value.trim()) decide(field.value.trim());
});

/** @param {string[]} notes */
function put(notes) {
  if (!notes.length) {
    word.textContent = "Choose a note first: J goes to the next one.";
    return;
  }
  open(notes.length === 1 ? "Put the note under" : `Put ${notes.length} notes under`, "", true, (typed) => {
    const code = meant(typed);
    if (code) send("/notes/do", { do: "put", code: code.dataset.code, notes });
    else send("/notes/do", { do: "create", code: uuid(), called: typed, notes });
  });
}

/** @param {number} by */
function step(by) {
  const at = here();
  const next = cards[at ? Math.min(Math.max(cards.indexOf(at) + by, 0), cards.length - 1) : 0];
  if (next) box(next).focus();
}

const undo = /** @type {HTMLButtonElement | null} */ (document.getElementById("undo"));
undo?.addEventListener("click", () => send("/notes/undo", {}));
// where the reader was before the button took the focus
let last = /** @type {string[]} */ ([]);
document.addEventListener("focusin", () => { if (here()) last = [here()?.dataset.note ?? ""]; });
document.getElementById("move")?.addEventListener("click", () => put(chosen().length ? chosen() : last));

document.addEventListener("keydown", (event) => {
  if (ask.open || isWriting(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.toLowerCase();
  const at = here();
  if (key === "j") step(1);
  else if (key === "k") step(-1);
  else if (key === "x" && at) box(at).click();
  else if (key === "m") put(chosen());
  else if (key === "u" && undo && !undo.disabled) send("/notes/undo", {});
  else return;
  event.preventDefault();
});

for (const card of cards) {
  for (const button of /** @type {NodeListOf<HTMLElement>} */ (card.querySelectorAll("[data-take]"))) {
    button.addEventListener("click", () => send("/notes/do", { do: "take", code: button.dataset.take, notes: [card.dataset.note] }));
  }
  card.addEventListener("dragstart", (event) => event.dataTransfer?.setData("text/plain", card.dataset.note ?? ""));
}

for (const code of codes) {
  const { code: id, name = "" } = code.dataset;
  code.addEventListener("dragover", (event) => { event.preventDefault(); code.classList.add("over"); });
  code.addEventListener("dragleave", () => code.classList.remove("over"));
  code.addEventListener("drop", (event) => {
    event.preventDefault();
    code.classList.remove("over");
    const note = event.dataTransfer?.getData("text/plain");
    if (cards.some((card) => card.dataset.note === note)) send("/notes/do", { do: "put", code: id, notes: [note] });
  });
  code.querySelector("[data-do=rename]")?.addEventListener("click", () =>
    open(`Rename “${name}”`, name, false, (typed) => send("/notes/do", { do: "rename", code: id, called: typed })));
  code.querySelector("[data-do=merge]")?.addEventListener("click", () =>
    open(`Merge “${name}” into`, "", false, (typed) => {
      const into = meant(typed);
      if (into && into !== code) send("/notes/do", { do: "merge", code: id, into: into.dataset.code });
      else word.textContent = "There is no other code of that name.";
    }));
  code.querySelector("[data-do=split]")?.addEventListener("click", () => {
    const notes = cards.filter((card) => box(card).checked && card.querySelector(`[data-take="${id}"]`)).map((card) => card.dataset.note);
    if (!notes.length) {
      word.textContent = `Choose notes of “${name}” first.`;
      return;
    }
    open(`Split ${notes.length} off “${name}” as`, "", false, (typed) =>
      send("/notes/do", { do: "split", code: id, into: uuid(), called: typed, notes }));
  });
}

// after a step the reader is where they were
window.addEventListener("pagehide", () => sessionStorage.setItem(PLACE, here()?.dataset.note ?? last[0] ?? ""));
const before = cards.find((card) => card.dataset.note === sessionStorage.getItem(PLACE));
if (before) box(before).focus();
document.body.dataset.ready = "yes";
