// @ts-check
// How a page of ours changes something: one POST of JSON, under an id made here, so that sending it twice does it once.

/** A random UUID, also where the page is not served by TLS and browsers keep `randomUUID` back. */
export function uuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

/** One POST as the server wants it. @param {string} path @param {object} body */
export async function post(path, body) {
  return fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Fairmark": "1" },
    body: JSON.stringify(body),
  });
}

/** @type {{same: string, act: string} | null} */
let unheard = null; // what was not answered keeps its id, so that trying again does nothing more
let busy = false;

/** What the server says to something that is sent, or null after `word` has told why there is nothing. One at a time.
 * @param {string} address @param {Record<string, unknown>} said @param {HTMLElement} word */
export async function send(address, said, word) {
  if (busy) return null;
  busy = true;
  const same = JSON.stringify([address, said]);
  if (unheard?.same !== same) unheard = { same, act: uuid() };
  try {
    const answer = await post(address, { act: unheard.act, ...said });
    const body = await answer.json();
    unheard = null;
    if (answer.ok) return body;
    word.textContent = `Not done: ${body.error.found.replace(/[.]$/, "")}. ${body.error.remedy || body.error.allowed}`;
  } catch {
    word.textContent = "Not done: the server did not answer. Is it still running? Try again.";
  } finally {
    busy = false;
  }
  return null;
}

/** Sends something and goes where the server says; nothing more is sent on the way.
 * @param {string} address @param {Record<string, unknown>} said @param {HTMLElement} word */
export async function sendAndGo(address, said, word) {
  const made = await send(address, said, word);
  if (!made) return;
  busy = true;
  if (made.go === location.pathname) location.reload();
  else location.assign(made.go);
}
