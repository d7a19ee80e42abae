// @ts-check
// The owner's buttons. Whatever changes something is a request of its own, and says how it went.

const word = /** @type {HTMLElement} */ (document.getElementById("word"));

/** @param {string} address @param {Record<string, unknown>} said */
async function send(address, said) {
  try {
    const answer = await fetch(address, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Fairmark": "1" },
      body: JSON.stringify(said),
    });
    const body = await answer.json();
    if (answer.ok) return body;
    word.textContent = `${body.error.found}. ${body.error.remedy || body.error.allowed}`;
  } catch {
    word.textContent = "The server did not answer. Is it still running?";
  }
  return null;
}

document.addEventListener("click", async (event) => {
  const button = event.target instanceof Element ? /** @type {HTMLElement | null} */ (event.target.closest("[data-do]")) : null;
  if (!button) return;
  const person = button.dataset.person ?? "";
  if (button.dataset.do === "link") {
    const made = await send("/links", { person });
    if (!made) return;
    const address = /** @type {HTMLInputElement} */ (document.getElementById("address"));
    /** @type {HTMLElement} */ (document.getElementById("whose")).textContent = person;
    /** @type {HTMLElement} */ (document.getElementById("link")).hidden = false;
    address.value = made.link;
    address.focus();
    address.select();
    word.textContent = `A new link for ${person} stands below.`;
  } else if (button.dataset.do === "revoke") {
    const made = await send("/revoke", { person });
    if (made) word.textContent = `${person} is signed out. A new link lets ${person} in again.`;
  } else if (button.dataset.do === "open") {
    const made = await send("/overview/open", {});
    if (made) location.reload();
  }
});

/** @type {HTMLFormElement} */ (document.getElementById("draw")).addEventListener("submit", async (event) => {
  event.preventDefault();
  const share = Number(/** @type {HTMLInputElement} */ (document.getElementById("share")).value) / 100;
  const made = await send("/overview/draw", { share });
  if (made) word.textContent = made.given_out ? `${made.given_out} responses are newly given out.` : "So much is given out already.";
});
