// @ts-check
// Which key does what. Single keys can be changed or turned off (WCAG 2.1.4), and only keys that work are printed.

/** @typedef {{name: string, word: string, key: string, fixed?: boolean}} Deed */

/** @type {Deed[]} */
export const DEEDS = [
  { name: "next", word: "Next response that waits", key: "Enter", fixed: true },
  { name: "following", word: "Response after this one", key: "n" },
  { name: "previous", word: "Response before this one", key: "p" },
  { name: "down", word: "Next criterion", key: "j" },
  { name: "up", word: "Criterion before", key: "k" },
  { name: "cannot", word: "Cannot judge", key: "c" },
  { name: "uncovered", word: "Rubric does not cover this", key: "o" },
  { name: "inapplicable", word: "Does not apply", key: "a" },
  { name: "clear", word: "Take this mark back", key: "x" },
  { name: "reason", word: "Write a reason", key: "r" },
  { name: "sentence", word: "Next sentence (with Shift: the one before)", key: "v" },
  { name: "cite", word: "Cite what is selected", key: "e" },
  { name: "note", word: "Field note", key: "f" },
  { name: "undo", word: "Undo (with Shift: redo)", key: "u" },
  { name: "skip", word: "Skip for now", key: "s" },
  { name: "raw", word: "As written, or laid out", key: "t" },
  { name: "differ", word: "Differences of a pair", key: "d" },
  { name: "sheet", word: "Keys and settings", key: "?" },
];

const KEPT = "fairmark:keys";

/** @typedef {{on: boolean, advance: boolean | null, keys: Record<string, string>}} Settings */

/** @returns {Settings} */
export function settings() {
  const usual = { on: true, advance: null, keys: {} };
  try {
    return { ...usual, ...JSON.parse(localStorage.getItem(KEPT) ?? "{}") };
  } catch {
    return usual;
  }
}

/** @param {Settings} wanted */
export function keep(wanted) {
  localStorage.setItem(KEPT, JSON.stringify(wanted));
}

/** @param {Settings} set @param {Deed} deed */
export const keyOf = (set, deed) => (deed.fixed ? deed.key : (set.keys[deed.name] ?? deed.key));

/** Whether a key press goes into a text. @param {EventTarget | null} target */
export function isWriting(target) {
  return target instanceof HTMLElement && target.matches("textarea, select, input:not([type=checkbox]):not([type=radio]), [contenteditable]");
}

/** What a key press means; null: nothing here. @param {KeyboardEvent} event @param {Settings} set @returns {string | null} */
export function meaning(event, set) {
  const { key } = event;
  const target = event.target instanceof HTMLElement ? event.target : document.body;
  if ((event.ctrlKey || event.metaKey) && !event.altKey) {
    if (key.toLowerCase() === "z") return event.shiftKey ? "redo" : "undo";
    return key.toLowerCase() === "y" ? "redo" : null;
  }
  if (event.ctrlKey || event.altKey || event.metaKey) return null;
  if (key === "Enter") return target.closest("button, a, summary") ? null : "next";
  if (key === "Escape") return "leave";
  const scrolls = target.closest(".scroller, .pre, .json, pre, table, summary");
  if (!scrolls && !event.shiftKey) {
    const arrow = { ArrowUp: "up", ArrowDown: "down", ArrowLeft: "previous", ArrowRight: "following" }[key];
    if (arrow) return arrow;
  }
  if (!set.on || key.length !== 1) return null;
  if (/^[0-9]$/.test(key)) return `level ${key === "0" ? 10 : Number(key)}`;
  const deed = DEEDS.find((one) => keyOf(set, one).toLowerCase() === key.toLowerCase());
  if (!deed) return null;
  if (event.shiftKey && deed.name === "undo") return "redo";
  if (event.shiftKey && deed.name === "sentence") return "sentence before";
  return deed.name;
}

/** Prints the keys that work on their buttons. @param {Settings} set */
export function print(set) {
  for (const place of document.querySelectorAll("kbd[data-key]")) {
    const name = /** @type {HTMLElement} */ (place).dataset.key;
    const deed = DEEDS.find((one) => one.name === (name === "redo" ? "undo" : name));
    if (!deed) continue;
    const key = keyOf(set, deed);
    const shown = key.length === 1 ? key.toUpperCase() : key;
    place.textContent = name === "redo" ? `⇧ ${shown}` : shown;
    /** @type {HTMLElement} */ (place).hidden = !set.on && !deed.fixed;
  }
  document.body.classList.toggle("no-keys", !set.on);
}

/** Rows of the sheet, each with a field for another key.
 * @param {HTMLElement} rows @param {Settings} set @param {() => void} changed */
export function sheet(rows, set, changed) {
  rows.replaceChildren(
    ...DEEDS.map((deed) => {
      const row = document.createElement("tr");
      const word = document.createElement("th");
      word.scope = "row";
      word.textContent = deed.word;
      const cell = document.createElement("td");
      if (deed.fixed) {
        const key = document.createElement("kbd");
        key.textContent = deed.key;
        cell.append(key);
      } else {
        const field = document.createElement("input");
        field.type = "text";
        field.className = "small";
        field.maxLength = 1;
        field.value = keyOf(set, deed).toUpperCase();
        field.setAttribute("aria-label", `Key: ${deed.word}`);
        field.addEventListener("change", () => {
          const wanted = field.value.trim().toLowerCase();
          const taken = DEEDS.some((other) => other !== deed && keyOf(set, other).toLowerCase() === wanted);
          if (!wanted || taken || /^[0-9]$/.test(wanted)) {
            field.value = keyOf(set, deed).toUpperCase();
            field.setCustomValidity(taken ? "Another thing has this key" : "A letter or a sign");
            field.reportValidity();
            return;
          }
          field.setCustomValidity("");
          set.keys[deed.name] = wanted;
          changed();
        });
        cell.append(field);
      }
      row.append(word, cell);
      return row;
    }),
  );
}
