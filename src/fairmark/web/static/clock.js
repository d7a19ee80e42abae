// @ts-check
// Time at a response, counted only while somebody is there; and what was done since the browser was opened.

const IDLE = 60_000; // ms without a key or a movement after which nobody is reading
const SESSION = "fairmark:session";

/** @typedef {{done: number, seconds: number}} Session */

/** @returns {Session} */
export const session = () => JSON.parse(sessionStorage.getItem(SESSION) ?? '{"done":0,"seconds":0}');

/** @param {Partial<Session>} more */
export function add({ done = 0, seconds = 0 }) {
  const now = session();
  sessionStorage.setItem(SESSION, JSON.stringify({ done: now.done + done, seconds: now.seconds + seconds }));
}

/** Calls every second in which somebody is at the page. @param {() => void} tick */
export function whileThere(tick) {
  let active = Date.now();
  const seen = () => {
    active = Date.now();
  };
  for (const kind of ["keydown", "pointerdown", "pointermove", "wheel", "scroll"]) addEventListener(kind, seen, { passive: true, capture: true });
  setInterval(() => {
    if (document.visibilityState === "visible" && Date.now() - active < IDLE) tick();
  }, 1000);
}

/** The pace in words, which is shown only to those who ask for it. @param {number} left */
export function pace(left) {
  const { done, seconds } = session();
  if (!done) return "We don't know yet: no response was finished in this session.";
  const each = seconds / done / 60;
  return `This session: ${done} marked, about ${each.toFixed(1)} minutes each. The other ${left} would take about ${Math.ceil(left * each)} minutes. Take the time you need.`;
}
