// @ts-check
// What is read: more of a long response, two side by side, their differences, the turns of a conversation.

/** Two responses scroll as one. */
export function scrollAsOne() {
  const both = [...document.querySelectorAll(".pair .scroller")];
  let leads = /** @type {Element | null} */ (null);
  for (const one of both) {
    one.addEventListener("scroll", () => {
      if (leads && leads !== one) return;
      leads = one;
      const share = one.scrollTop / Math.max(1, one.scrollHeight - one.clientHeight);
      for (const other of both) if (other !== one) other.scrollTop = share * (other.scrollHeight - other.clientHeight);
      requestAnimationFrame(() => requestAnimationFrame(() => (leads = null)));
    });
  }
}

/** As written, or laid out. */
export function raw() {
  const is = document.getElementById("item")?.classList.toggle("raw");
  document.querySelector('[data-do="raw"]')?.setAttribute("aria-pressed", String(is));
  for (const block of document.querySelectorAll(".output details")) block.setAttribute("open", "");
}

/** What only the left one says, and what only the right one. @param {string} id of the response shown */
export async function differ(id) {
  const box = document.getElementById("differences");
  const button = document.querySelector('[data-do="differ"]');
  if (!box || !button) return;
  if (box.hidden && !box.textContent) {
    const answer = await fetch(`/mark/${id}/differences`).then((one) => one.json()).catch(() => ({}));
    const shown = document.createElement("div");
    shown.className = "text diff";
    if (answer.html) shown.innerHTML = answer.html; // made by our server from escaped text alone
    else shown.textContent = answer.html === null ? "They are too long to compare word by word." : "There is no connection to the server.";
    const how = document.createElement("p");
    how.className = "note";
    how.textContent = "− stands in the left one only, + in the right one only.";
    box.replaceChildren(how, shown);
  }
  box.hidden = !box.hidden;
  button.setAttribute("aria-pressed", String(!box.hidden));
}

/** Adds the next part of a long response. Whether it could be had. @param {HTMLElement} button */
export async function more(button) {
  const { more: id, from } = button.dataset;
  const answer = await fetch(`/mark/${id}/part?from=${from}`).then((one) => (one.ok ? one.json() : null)).catch(() => null);
  const output = document.getElementById(`output-${id}`);
  if (!answer || !output) return false;
  const piece = document.createElement("div");
  piece.className = "part";
  piece.innerHTML = answer.html; // made by our server from escaped text alone
  output.append(piece);
  button.dataset.from = String(answer.end);
  const word = button.parentElement?.querySelector(".note");
  if (word) word.textContent = `${answer.end.toLocaleString("en")} of ${answer.total.toLocaleString("en")} characters are shown.`;
  if (answer.end >= answer.total) button.parentElement?.remove();
  return true;
}

/** Goes to a turn of a conversation. @param {HTMLSelectElement} list */
export function toTurn(list) {
  list.closest(".shown")?.querySelectorAll(".turn")[Number(list.value) - 1]?.scrollIntoView({ block: "start" });
}

/** A quote or a note as a chip: it leads to its words and can be taken away.
 * @param {{words: string, title: string, removing: string, open: () => void, remove: () => void}} of */
export function chip({ words, title, removing, open, remove }) {
  const item = document.createElement("li");
  const lead = document.createElement("button");
  lead.type = "button";
  lead.className = "small chip";
  lead.textContent = words.length > 120 ? `${words.slice(0, 119)}…` : words;
  lead.title = title;
  lead.dir = "auto";
  lead.addEventListener("click", open);
  const away = document.createElement("button");
  away.type = "button";
  away.className = "small quiet";
  away.textContent = "×";
  away.setAttribute("aria-label", `${removing}: ${words.slice(0, 60)}`);
  away.addEventListener("click", remove);
  item.append(lead, away);
  return item;
}
