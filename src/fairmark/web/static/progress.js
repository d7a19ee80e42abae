// @ts-check
// Keeps the page of a run fresh. The server sends the words; here they are put in their places.

const EVERY = 2000; // milliseconds

/** @typedef {{words: Record<string, string>, bars: Record<string, [number, number]>, rows: [string, string][], title: string}} View */

const fresh = /** @type {HTMLElement} */ (document.getElementById("fresh"));
const name = document.title;
const rows = [...document.querySelectorAll("[data-row]")].map((row) => /** @type {HTMLElement} */ (row).dataset.row);

/** @param {View} view */
function show(view) {
  // a line more or less is a new page
  if (view.rows.map(([of]) => of).join("\n") !== rows.join("\n")) return location.reload();
  for (const [id, text] of Object.entries(view.words)) {
    const place = document.getElementById(id);
    // what has not changed is left alone, so that it is not read out again and a selection stays
    if (place && place.textContent !== text) place.textContent = text;
  }
  for (const [id, [value, max]] of Object.entries(view.bars)) {
    const bar = /** @type {HTMLProgressElement | null} */ (document.getElementById(id));
    if (bar) [bar.max, bar.value] = [max || 1, value];
  }
  document.title = `${view.title} · ${name}`;
}

async function look() {
  try {
    const answer = await fetch("/progress/now", { headers: { Accept: "application/json" } });
    if (answer.status === 401 || answer.status === 403) {
      fresh.textContent = "You are signed out. Open a new link to see how it goes on.";
      return;
    }
    if (answer.ok) {
      show((await answer.json()).view);
      fresh.textContent = "This page keeps itself fresh.";
    } else {
      fresh.textContent = "The store could not be read just now. It is tried again.";
    }
  } catch {
    fresh.textContent = "The server does not answer. It is tried again.";
  }
  setTimeout(turn, EVERY);
}

function turn() {
  if (!document.hidden) look();
  else document.addEventListener("visibilitychange", turn, { once: true });
}

turn();
