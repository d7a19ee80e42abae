// @ts-check
// The token stands behind the `#`, which browsers send to nobody; it leaves this page in one request and the address at once.

const word = /** @type {HTMLElement} */ (document.getElementById("word"));
const token = location.hash.slice(1);
history.replaceState(null, "", "/enter");

async function enter() {
  if (!token) {
    word.textContent = "Open the link you were given. If you have none, ask whoever runs this study for one.";
    return;
  }
  try {
    const answer = await fetch("/enter", {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Fairmark": "1" },
      body: JSON.stringify({ token }),
    });
    const said = await answer.json();
    if (answer.ok) {
      location.replace(said.go);
    } else {
      word.textContent = `${said.error.found}. ${said.error.remedy}.`;
    }
  } catch {
    word.textContent = "The server did not answer. Is it still running? Open your link again.";
  }
}

enter();
