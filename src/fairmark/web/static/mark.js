// @ts-check
// The marking page: keys, marks, quotes, notes. What is said shows at once and is stored behind the reader's back.

import * as clock from "./clock.js";
import { isWriting, keep, meaning, print, settings, sheet } from "./keys.js";
import { chip, differ, more, raw, scrollAsOne, toTurn } from "./panes.js";
import { Queue } from "./queue.js";
import { post, uuid } from "./sending.js";
import { draw, quoteOf, rangeOf, read, selected, sentences, units } from "./text.js";

/** @typedef {import("./text.js").Quote} Quote */
/** @typedef {{label: string | null, reason: string, evidence: Quote[], seconds: number | null}} Said */
/** @typedef {{id: string, text: string, span: Quote | null}} Note */
/** @typedef {{id: string, version: number, status: string, known: Record<string, string>, said: Record<string, Said>, notes: Note[]}} Pane */
/** @typedef {{assigned: number, done: number, waiting: number, stage: string}} Progress */
/** @typedef {{id: string, panes: Pane[], training: boolean, place: number, before: string | null, after: string | null,
 *   can_undo: boolean, can_redo: boolean, progress: Progress, html?: string}} View */
/** @typedef {{id: string, name: string, levels: {name: string, anchor: string}[], range: number[] | null, inapplicable: boolean, reason: boolean}} Criterion */
/** @typedef {{person: string, criteria: Criterion[], ways_out: Record<string, string>, pairs: boolean}} Study */

const $ = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));
const bench = $("bench");
const reason = /** @type {HTMLTextAreaElement} */ ($("reason"));
/** @type {Study} */ const study = JSON.parse(bench.dataset.study ?? "");
/** @type {View} */ let view = JSON.parse(bench.dataset.view ?? "");
const set = settings();

let place = 0; // of the criterion with the bar, counted over criteria and, in pairs, sides
let sentence = -1;
let typing = 0; // timer of a reason that is being written
/** @type {Map<string, Pane>} */ const panes = new Map(); // as this page knows them, what is not stored yet included
/** @type {Map<string, Promise<View>>} */ const fetched = new Map();
/** @type {Promise<unknown>} */ let turn = Promise.resolve(); // undo and moving happen one after the other
/** @type {{note: Note, pane: Pane} | null} */ let editing = null;

// ------------------------------------------------------------ what stands

const slots = () => study.criteria.flatMap((on) => view.panes.map((pane, side) => ({ on, pane, side })));
const slot = () => slots()[place];
/** @param {Pane} pane @param {string} criterion @returns {Said} */
const saidOf = (pane, criterion) => pane.said[criterion] ?? { label: null, reason: "", evidence: [], seconds: null };
/** @param {Criterion} on @param {Said} said */
const needsReason = (on, said) => on.reason || said.label === study.ways_out.cannot || said.label === study.ways_out.uncovered;
/** @param {Criterion} on @param {Said} said */
const isComplete = (on, said) => said.label !== null && (!needsReason(on, said) || said.reason.trim() !== "");
const allComplete = () => slots().every(({ on, pane }) => isComplete(on, saidOf(pane, on.id)));
const goesOn = () => set.advance ?? !study.criteria.some((on) => on.reason);

/** @param {string} words */
function announce(words) {
  $("live").textContent = words;
}

/** @param {string} words */
function warn(words) {
  $("warn").textContent = words;
  $("warn").hidden = words === "";
}

// ------------------------------------------------------------ storing

const queue = new Queue(`${study.id}:${study.person}`, {
  word(word, waiting) {
    const words = { saved: "Saved", saving: "Saving", retrying: "Not saved yet, retrying", out: "Not saved: open your link again. Your marks are kept here" };
    $("status").textContent = words[word] + (word !== "saved" && word !== "saving" && waiting > 1 ? ` (${waiting})` : "");
    $("status").dataset.word = word;
  },
  stored(act, answer) {
    const own = panes.get(answer.assignment);
    if (own) {
      const was = own.status;
      Object.assign(own, { version: answer.pane.version, status: answer.pane.status, known: answer.pane.known });
      if (was !== "done" && own.status === "done") clock.add({ done: 1 });
    }
    fetched.delete(leadOf(answer.assignment));
    showProgress(answer.progress);
    if (view.panes.some((pane) => pane.id === answer.assignment)) {
      view.can_undo = true;
      view.can_redo = false;
      showMarks();
      showTools();
    }
  },
  refused(act, answer, dropped) {
    fetched.clear();
    answer.present.panes.forEach((/** @type {Pane} */ pane) => panes.delete(pane.id));
    warn(`This response was marked in another window meanwhile. It is shown as it stands; your last ${dropped > 1 ? `${dropped} entries were` : "entry was"} not stored.`);
    if (answer.present.id === view.id) show({ ...answer.present, html: undefined });
  },
  wrong(act, why) {
    warn(`Not stored: ${why}.`);
    panes.delete(act.target);
    fetched.clear();
    if (view.panes.some((pane) => pane.id === act.target)) turn = turn.then(() => go(view.id, { push: false }));
  },
});

/** @param {string} assignment */
const leadOf = (assignment) => (view.panes.some((pane) => pane.id === assignment) ? view.id : assignment);

/** @param {ReturnType<typeof slot>} where @param {Partial<Said>} change @param {number} [hold] */
function say(where, change, hold = 0) {
  const said = { ...saidOf(where.pane, where.on.id), ...change, seconds: Math.round(spent(where.pane.id)) };
  where.pane.said = { ...where.pane.said, [where.on.id]: said };
  unheard = null;
  queue.put(`/mark/${where.pane.id}/say`, where.pane.id, where.on.id, { criterion: where.on.id, ...said }, hold);
}

/** What the queue holds is put over what the server said. @param {Pane} pane */
function withWaiting(pane) {
  const known = panes.get(pane.id);
  const waiting = queue.waiting(pane.id);
  if (known && (waiting.length || known.version > pane.version)) return known;
  if (!waiting.length) queue.know(pane.id, pane.version);
  for (const { path, body } of waiting) {
    if (path.endsWith("/say")) {
      const { criterion, label, reason: why, evidence, seconds } = body;
      pane.said = { ...pane.said, [criterion]: { label, reason: why, evidence, seconds } };
    } else if (path.endsWith("/note")) {
      pane.notes = [...pane.notes.filter((note) => note.id !== body.note), ...(body.text ? [{ id: body.note, text: body.text, span: body.span }] : [])];
    }
  }
  panes.set(pane.id, pane);
  return pane;
}

// ------------------------------------------------------------ time and progress

/** @type {Map<string, number>} */ const seconds = new Map(); // somebody was at a response
clock.whileThere(() => {
  seconds.set(slot().pane.id, spent(slot().pane.id) + 1);
  clock.add({ seconds: 1 });
});

/** @param {string} id */
function spent(id) {
  const said = panes.get(id)?.said ?? {};
  return seconds.get(id) ?? Math.max(0, ...Object.values(said).map((one) => one.seconds ?? 0));
}

/** @param {Progress} progress */
function showProgress(progress) {
  view.progress = progress;
  const bar = /** @type {HTMLProgressElement} */ ($("bar"));
  bar.max = Math.max(1, progress.assigned);
  bar.value = progress.done;
  const now = clock.session().done;
  $("count").textContent = `${progress.done.toLocaleString("en")} of ${progress.assigned.toLocaleString("en")}${now ? ` · ${now} this session` : ""}`;
}

// ------------------------------------------------------------ showing

/** @param {View} next */
function show(next) {
  const moved = next.id !== view.id;
  view = next;
  view.panes = view.panes.map(withWaiting);
  if (next.html !== undefined) {
    $("item").innerHTML = next.html; // made by our server from escaped text alone
    sentence = -1;
  }
  for (const row of rows()) row.hidden = Number(row.dataset.side) >= view.panes.length;
  if (moved || next.html !== undefined) place = Math.max(0, slots().findIndex(({ on, pane }) => !isComplete(on, saidOf(pane, on.id))));
  showProgress(view.progress);
  showMarks();
  showTools();
  scrollAsOne();
  if (view.after) void fetchView(view.after).catch(() => {});
}

/** @returns {HTMLElement[]} */
const rows = () => [...document.querySelectorAll(".row")].map((row) => /** @type {HTMLElement} */ (row));
/** @param {number} at */
const rowOf = (at) => {
  const { on, side } = slots()[at];
  return /** @type {HTMLElement} */ (document.querySelector(`[data-criterion="${CSS.escape(on.id)}"] .row[data-side="${side}"]`));
};

function showMarks() {
  slots().forEach(({ on, pane }, at) => {
    const said = saidOf(pane, on.id);
    const row = rowOf(at);
    for (const button of row.querySelectorAll(".level")) {
      button.setAttribute("aria-pressed", String(/** @type {HTMLElement} */ (button).dataset.label === said.label));
    }
    const number = row.querySelector("input");
    if (number && document.activeElement !== number) number.value = said.label !== null && Number.isFinite(Number(said.label)) ? said.label : "";
    const state = /** @type {HTMLElement} */ (row.querySelector(".state"));
    const known = pane.known[on.id];
    const out = { [study.ways_out.cannot]: "Cannot judge", [study.ways_out.uncovered]: "Not covered", [study.ways_out.inapplicable]: "Does not apply" }[said.label ?? ""];
    const lacks = said.label !== null && needsReason(on, said) && said.reason.trim() === "" ? "a reason is needed" : "";
    state.textContent = [out, lacks, known === undefined ? "" : known === said.label ? `Known mark: ${known}, as yours` : `Known mark: ${known}`].filter(Boolean).join(" · ");
    row.classList.toggle("current", at === place);
    for (const button of row.querySelectorAll(".level")) button.classList.toggle("known", /** @type {HTMLElement} */ (button).dataset.label === known);
  });
  const { on, pane, side } = slot();
  for (const section of document.querySelectorAll(".criterion")) {
    const here = /** @type {HTMLElement} */ (section).dataset.criterion === on.id;
    section.classList.toggle("current", here);
    if (here) section.setAttribute("aria-current", "true");
    else section.removeAttribute("aria-current");
  }
  const said = saidOf(pane, on.id);
  $("of").textContent = view.panes.length > 1 ? `${on.name}, ${side ? "right" : "left"}` : on.name;
  $("reason-word").textContent = needsReason(on, said) ? "Why? A reason is needed here." : "Why? If you like.";
  reason.required = needsReason(on, said);
  if (document.activeElement !== reason) reason.value = said.reason;
  for (const way of ["cannot", "uncovered", "inapplicable"]) {
    const button = document.querySelector(`.ways [data-do="${way}"]`);
    button?.setAttribute("aria-pressed", String(said.label === study.ways_out[way]));
    if (way === "inapplicable") button?.toggleAttribute("hidden", !on.inapplicable);
  }
  showQuotes();
}

function showTools() {
  const can = { undo: view.can_undo || queue.acts.length > 0, redo: view.can_redo, previous: view.before !== null, following: view.after !== null };
  for (const [name, able] of Object.entries(can)) {
    for (const button of document.querySelectorAll(`[data-do="${name}"]`)) button.toggleAttribute("disabled", !able);
  }
  document.body.classList.toggle("practice", view.training);
}

/** @param {number} side */
const outputOf = (side) => /** @type {HTMLElement | null} */ (document.querySelector(`.response[data-pane="${side}"] .output`));

function showQuotes() {
  const where = slot();
  const { evidence } = saidOf(where.pane, where.on.id);
  $("chips").replaceChildren(
    ...evidence.map((quote) =>
      chip({
        words: `“${quote.quote}”`,
        title: "Show it in the response",
        removing: "Take out",
        open: () => jump(where.side, quote),
        remove() {
          say(where, { evidence: evidence.filter((other) => other !== quote) });
          showMarks();
          focusPlace();
        },
      }),
    ),
  );
  const notes = view.panes.flatMap((pane, side) => pane.notes.map((note) => ({ pane, side, note })));
  $("notes").replaceChildren(
    ...notes.map(({ pane, side, note }) =>
      chip({
        words: `Note: ${note.text}`,
        title: "Change this note",
        removing: "Remove",
        open: () => writeNote(note, side),
        remove: () => storeNote(pane, { ...note, text: "" }),
      }),
    ),
  );
  const ranges = view.panes.flatMap((pane, side) => {
    const output = outputOf(side);
    if (!output || pane !== where.pane || !evidence.length) return [];
    const reading = read(output);
    return evidence.map((quote) => rangeOf(reading, units(reading.text, quote.start), units(reading.text, quote.end))).filter((range) => range !== null);
  });
  draw("cited", /** @type {Range[]} */ (ranges));
}

/** @param {number} side @param {Quote} quote */
function jump(side, quote) {
  const output = outputOf(side);
  if (!output) return;
  const reading = read(output);
  const range = rangeOf(reading, units(reading.text, quote.start), units(reading.text, quote.end));
  if (!range) return;
  range.startContainer.parentElement?.closest("details:not([open])")?.setAttribute("open", "");
  (range.startContainer.parentElement ?? output).scrollIntoView({ block: "center" });
  const selection = getSelection();
  selection?.removeAllRanges();
  selection?.addRange(range);
}

// ------------------------------------------------------------ marking

function focusPlace() {
  const section = /** @type {HTMLElement} */ (rowOf(place).closest(".criterion"));
  section.focus({ preventScroll: true });
  section.scrollIntoView({ block: "nearest" });
}

/** @param {number} to @param {boolean} [quietly] */
function moveTo(to, quietly = false) {
  finishTyping();
  place = Math.min(slots().length - 1, Math.max(0, to));
  showMarks();
  focusPlace();
  const { on, side } = slot();
  if (!quietly) announce(`${view.panes.length > 1 ? `${side ? "Right" : "Left"}, ` : ""}${on.name}. ${on.levels.map((level, at) => `${at + 1} ${level.name}`).join(", ")}`);
}

/** @param {string | null} label */
function mark(label) {
  const where = slot();
  const was = allComplete();
  const said = saidOf(where.pane, where.on.id);
  say(where, { label, reason: reasonNow(said) });
  const level = where.on.levels.find((one) => one.name === label);
  announce(`${where.on.name}: ${label ?? "taken back"}.${level?.anchor ? ` ${level.anchor}.` : ""}`);
  if (label === null) return showMarks();
  if (needsReason(where.on, { ...said, label }) && saidOf(where.pane, where.on.id).reason.trim() === "") {
    showMarks();
    reason.focus();
    return undefined;
  }
  return afterMark(was);
}

/** @param {boolean} was whether all was marked before */
function afterMark(was) {
  if (!was && allComplete() && goesOn() && !view.training) return next();
  if (place + 1 < slots().length) moveTo(place + 1, true);
  else {
    showMarks();
    focusPlace();
    if (allComplete()) announce(`${$("live").textContent} All is marked. Enter goes on.`);
  }
  return undefined;
}

/** @param {Said} said */
const reasonNow = (said) => (typing ? reason.value : said.reason);

function finishTyping() {
  if (!typing) return;
  clearTimeout(typing);
  typing = 0;
  const where = slot();
  if (reason.value !== saidOf(where.pane, where.on.id).reason) say(where, { reason: reason.value }, 1200);
}

function cite() {
  const sides = view.panes.map((_, side) => side);
  for (const side of sides) {
    const output = outputOf(side);
    const quote = output && (selected(output) ?? (sentence >= 0 && side === slot().side ? sentenceQuote(output) : null));
    if (!quote) continue;
    if (side !== slot().side) place = slots().findIndex((one) => one.side === side && one.on === slot().on);
    const where = slot();
    const { evidence } = saidOf(where.pane, where.on.id);
    if (!evidence.some((one) => one.start === quote.start && one.end === quote.end)) say(where, { evidence: [...evidence, quote] });
    getSelection()?.removeAllRanges();
    showMarks();
    announce(`Cited: ${quote.quote}`);
    return;
  }
  announce("Nothing is selected. Select words of the response, or walk to a sentence.");
}

/** @param {Element} output */
function sentenceQuote(output) {
  const { text } = read(output);
  const found = sentences(text)[sentence];
  return found ? quoteOf(text, found.start, found.end) : null;
}

/** @param {number} step */
function walk(step) {
  const output = outputOf(slot().side);
  if (!output) return;
  const reading = read(output);
  const all = sentences(reading.text);
  if (!all.length) return;
  getSelection()?.removeAllRanges();
  sentence = sentence < 0 ? (step > 0 ? 0 : all.length - 1) : (sentence + step + all.length) % all.length;
  const range = rangeOf(reading, all[sentence].start, all[sentence].end);
  if (!range) return;
  draw("sentence", [range]);
  range.startContainer.parentElement?.closest("details:not([open])")?.setAttribute("open", "");
  range.startContainer.parentElement?.scrollIntoView({ block: "nearest" });
  announce(reading.text.slice(all[sentence].start, all[sentence].end));
}

// ------------------------------------------------------------ moving

/** @param {string} id @returns {Promise<View>} */
function fetchView(id) {
  let found = fetched.get(id);
  if (!found) {
    found = fetch(`/mark/${id}/view`).then((answer) => {
      if (!answer.ok) throw new Error(String(answer.status));
      return answer.json();
    });
    found.catch(() => fetched.delete(id));
    fetched.set(id, found);
    if (fetched.size > 12) fetched.delete(/** @type {string} */ (fetched.keys().next().value));
  }
  return found;
}

/** @param {string | null} id @param {{push?: boolean}} [how] */
async function go(id, { push = true } = {}) {
  finishTyping();
  queue.release();
  if (id === null) return;
  try {
    const wanted = await fetchView(id);
    const copy = /** @type {View} */ (structuredClone(wanted));
    getSelection()?.removeAllRanges();
    draw("sentence", []);
    copy.progress = view.progress;
    if (queue.acts.length) copy.can_undo = true;
    if (push) history.pushState({ id: copy.id }, "", `/mark/${copy.id}`);
    show(copy);
    scrollTo(0, 0);
    focusPlace();
    announce(`Response ${copy.place} of ${copy.progress.assigned}. ${slot().on.name}.`);
  } catch {
    warn("There is no connection to the server. You can go on with what is shown; it is kept here until it is stored.");
  }
}

/** On to the first response that waits: as a rule the one after this. */
function next() {
  finishTyping();
  const from = view.id;
  turn = turn.then(async () => {
    if (view.id !== from) return;
    let ahead = view.after;
    for (let most = 5; ahead && most > 0; most--) {
      const seen = await fetchView(ahead).catch(() => null);
      if (!seen || seen.panes.some((pane) => (panes.get(pane.id) ?? pane).status !== "done")) break;
      ahead = seen.after;
    }
    if (ahead) return go(ahead);
    if (await queue.settled(4000)) location.assign("/mark");
    else warn("This is the last one. It is not stored yet: wait for the connection.");
  });
  return turn;
}

/** @type {{which: string, act: string} | null} */
let unheard = null; // an undo or redo that was not answered keeps its id, so that asking again does nothing more

/** @param {"undo" | "redo"} which */
function again(which) {
  finishTyping();
  turn = turn.then(async () => {
    if (!(await queue.settled(3000))) return warn(`${which === "undo" ? "Undo" : "Redo"} works again once all is stored. You can set another level meanwhile.`);
    try {
      if (unheard?.which !== which) unheard = { which, act: uuid() };
      const answer = await post(`/${which}`, { act: unheard.act });
      const said = await answer.json();
      unheard = null;
      if (!answer.ok) return warn(said.error ? said.error.found : "That was not possible.");
      if (said.nothing) return announce(which === "undo" ? "There is nothing to take back." : "There is nothing to do again.");
      fetched.clear();
      panes.delete(said.assignment);
      const here = view.panes.some((pane) => pane.id === said.assignment);
      view.progress = said.progress;
      const kept = place;
      await go(said.assignment, { push: !here });
      if (here) moveTo(kept, true);
      announce(which === "undo" ? "Taken back." : "Done again.");
    } catch {
      warn("There is no connection to the server. Try again in a moment.");
    }
    return undefined;
  });
}

// ------------------------------------------------------------ dialogs

/** @param {string} id */
const dialog = (id) => /** @type {HTMLDialogElement} */ ($(id));

function askSkip() {
  /** @type {HTMLInputElement} */ ($("skip-reason")).value = "";
  dialog("skip-dialog").returnValue = "no";
  dialog("skip-dialog").showModal();
}

dialog("skip-dialog").addEventListener("close", () => {
  if (dialog("skip-dialog").returnValue !== "yes") return focusPlace();
  const why = /** @type {HTMLInputElement} */ ($("skip-reason")).value;
  unheard = null;
  for (const pane of view.panes) queue.put(`/mark/${pane.id}/skip`, pane.id, "skip", { reason: why });
  if (view.after) turn = turn.then(() => go(view.after));
  else turn = turn.then(async () => void ((await queue.settled(4000)) && location.assign("/mark")));
  return undefined;
});

/** @param {Note | null} note @param {number} side */
function writeNote(note, side) {
  const output = outputOf(side);
  const written = note ?? { id: uuid(), text: "", span: output ? selected(output) : null };
  editing = { note: written, pane: view.panes[side] };
  const text = /** @type {HTMLTextAreaElement} */ ($("note-text"));
  text.value = written.text;
  $("note-span").textContent = written.span ? `About: “${written.span.quote.slice(0, 200)}”` : "";
  dialog("note-dialog").returnValue = "no";
  dialog("note-dialog").showModal();
  text.focus();
}

/** @param {Pane} pane @param {Note} note */
function storeNote(pane, note) {
  pane.notes = [...pane.notes.filter((other) => other.id !== note.id), ...(note.text.trim() ? [note] : [])];
  unheard = null;
  queue.put(`/mark/${pane.id}/note`, pane.id, `note ${note.id}`, { note: note.id, text: note.text, span: note.span });
  showMarks();
}

dialog("note-dialog").addEventListener("close", () => {
  const text = /** @type {HTMLTextAreaElement} */ ($("note-text"));
  if (dialog("note-dialog").returnValue === "yes" && editing && (text.value.trim() || editing.note.text)) {
    storeNote(editing.pane, { ...editing.note, text: text.value.trim() });
  }
  focusPlace();
});
$("note-text").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.stopPropagation(); // the page, which is free again, would go on to the next response
  event.preventDefault();
  dialog("note-dialog").close("yes");
});

function showSheet() {
  /** @type {HTMLInputElement} */ ($("keys-on")).checked = set.on;
  /** @type {HTMLInputElement} */ ($("advance")).checked = goesOn();
  $("pace").textContent = "";
  sheet($("key-rows"), set, settled);
  dialog("sheet").showModal();
}

function settled() {
  keep(set);
  print(set);
}

$("keys-on").addEventListener("change", (event) => {
  set.on = /** @type {HTMLInputElement} */ (event.target).checked;
  settled();
});
$("advance").addEventListener("change", (event) => {
  set.advance = /** @type {HTMLInputElement} */ (event.target).checked;
  settled();
});

// ------------------------------------------------------------ what a key or a button does

/** @type {Record<string, () => unknown>} */
const does = {
  next,
  following: () => (turn = turn.then(() => go(view.after))),
  previous: () => (turn = turn.then(() => go(view.before))),
  down: () => moveTo(place + 1),
  up: () => moveTo(place - 1),
  cannot: () => mark(study.ways_out.cannot),
  uncovered: () => mark(study.ways_out.uncovered),
  inapplicable: () => slot().on.inapplicable && mark(study.ways_out.inapplicable),
  clear: () => saidOf(slot().pane, slot().on.id).label !== null && mark(null),
  reason: () => reason.focus(),
  cite,
  sentence: () => walk(1),
  "sentence before": () => walk(-1),
  note: () => writeNote(null, slot().side),
  undo: () => again("undo"),
  redo: () => again("redo"),
  skip: askSkip,
  raw,
  differ: () => differ(view.id),
  sheet: showSheet,
  close: () => dialog("sheet").close(),
  usual() {
    set.keys = {};
    settled();
    sheet($("key-rows"), set, settled);
  },
  pace: () => ($("pace").textContent = clock.pace(view.progress.assigned - view.progress.done)),
  leave() {
    getSelection()?.removeAllRanges();
    draw("sentence", []);
    sentence = -1;
    focusPlace();
  },
};

addEventListener("keydown", (event) => {
  if (event.isComposing || event.defaultPrevented || document.querySelector("dialog[open]")) return;
  if (isWriting(event.target)) {
    if (event.key === "Escape" || (event.key === "Enter" && (event.ctrlKey || event.metaKey || event.target instanceof HTMLInputElement))) {
      event.preventDefault();
      const stays = event.key === "Escape" || event.target instanceof HTMLInputElement;
      if (event.target instanceof HTMLInputElement) event.target.dispatchEvent(new Event("change", { bubbles: true }));
      finishTyping();
      queue.release();
      if (stays) focusPlace();
      else void next();
    }
    return;
  }
  const wanted = meaning(event, set);
  if (wanted === null) return;
  const level = /^level (\d+)$/.exec(wanted);
  if (level) {
    const { on } = slot();
    const chosen = on.levels[Number(level[1]) - 1];
    const number = rowOf(place).querySelector("input");
    if (number) number.select();
    else if (chosen) {
      event.preventDefault();
      void turn.then(() => mark(chosen.name));
    }
    return;
  }
  event.preventDefault();
  // a key pressed while a response is on its way belongs to the next one
  if (["next", "following", "previous", "undo", "redo", "leave"].includes(wanted)) void does[wanted]();
  else void turn.then(() => does[wanted]());
});

addEventListener("click", (event) => {
  const target = event.target instanceof Element ? event.target : null;
  const button = /** @type {HTMLElement | null} */ (target?.closest("button") ?? null);
  const row = /** @type {HTMLElement | null} */ (target?.closest(".row") ?? null);
  const section = /** @type {HTMLElement | null} */ (target?.closest(".criterion") ?? null);
  if (section) {
    const side = Number(row?.dataset.side ?? 0);
    const at = slots().findIndex((one) => one.on.id === section.dataset.criterion && one.side === side);
    if (at >= 0 && at !== place) {
      finishTyping();
      place = at;
      showMarks();
    }
    if (button?.classList.contains("level")) mark(button.dataset.label ?? null);
  }
  if (button?.dataset.do) void does[button.dataset.do]?.();
  if (button?.dataset.more) void more(button).then((had) => had || warn("The rest cannot be had just now. Try again in a moment."));
});

addEventListener("change", (event) => {
  const target = event.target;
  if (target instanceof HTMLInputElement && target.closest(".number")) {
    const row = /** @type {HTMLElement} */ (target.closest(".row"));
    place = slots().findIndex((_, at) => rowOf(at) === row);
    if (target.value !== "" && target.reportValidity() && target.value !== saidOf(slot().pane, slot().on.id).label) mark(target.value);
  }
  if (target instanceof HTMLSelectElement && target.classList.contains("turn-list")) toTurn(target);
});

reason.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(finishTyping, 250);
});
reason.addEventListener("blur", () => {
  finishTyping();
  queue.release();
  showMarks();
});
for (const kind of ["pagehide", "visibilitychange"]) {
  document.addEventListener(kind, finishTyping);
  addEventListener(kind, finishTyping);
}
addEventListener("popstate", (event) => {
  const id = event.state?.id ?? location.pathname.split("/").at(-1);
  turn = turn.then(() => go(id, { push: false }));
});

// another window of the same person: said, so that nobody is surprised
if ("BroadcastChannel" in window) {
  const air = new BroadcastChannel(`fairmark:${study.id}:${study.person}`);
  air.addEventListener("message", ({ data }) => {
    if (data === "hello") air.postMessage("here");
    warn("You have fairmark open in another window too. Mark in one of them: what you press in the slower one may be refused.");
  });
  air.postMessage("hello");
}

print(set);
history.replaceState({ id: view.id }, "", `/mark/${view.id}`);
show(view);
queue.go();
