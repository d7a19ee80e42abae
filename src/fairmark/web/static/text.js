// @ts-check
// Places in the raw text of a response. The page holds every character of it once, in order; what is not of the text stands in
// elements of the class `extra`. Browsers count in UTF-16 units, the server in code points.

/** @typedef {{start: number, end: number, quote: string}} Quote in code points of the raw text */
/** @typedef {{text: string, nodes: {node: Text, start: number}[]}} Reading */

/** @param {Node} node */
const isExtra = (node) => node instanceof Element && node.classList.contains("extra");

/** The raw text of an element and where each of its text nodes begins.
 * @param {Element} root @returns {Reading} */
export function read(root) {
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT, (node) =>
    isExtra(node) ? NodeFilter.FILTER_REJECT : node instanceof Text ? NodeFilter.FILTER_ACCEPT : NodeFilter.FILTER_SKIP);
  const nodes = [];
  const pieces = [];
  let start = 0;
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const text = /** @type {Text} */ (node);
    nodes.push({ node: text, start });
    pieces.push(text.data);
    start += text.data.length;
  }
  return { text: pieces.join(""), nodes };
}

/** How many code points stand before a place. @param {string} text @param {number} place */
export function points(text, place) {
  let count = 0;
  for (let at = 0; at < place; count++) at += /** @type {number} */ (text.codePointAt(at)) > 0xffff ? 2 : 1;
  return count;
}

/** The place before which so many code points stand. @param {string} text @param {number} count */
export function units(text, count) {
  let at = 0;
  for (let seen = 0; seen < count && at < text.length; seen++) at += /** @type {number} */ (text.codePointAt(at)) > 0xffff ? 2 : 1;
  return at;
}

/** A place of the page as a place in the text. @param {Reading} reading @param {Node} container @param {number} offset */
function placeOf(reading, container, offset) {
  if (container instanceof Text) {
    const found = reading.nodes.find((one) => one.node === container);
    if (found) return found.start + offset;
  }
  const after = container instanceof Text ? container : (container.childNodes[offset] ?? null);
  for (const { node, start } of reading.nodes) {
    const where = after ? after.compareDocumentPosition(node) : container.compareDocumentPosition(node);
    const isAfter = after
      ? after === node || (where & Node.DOCUMENT_POSITION_FOLLOWING) !== 0
      : (where & Node.DOCUMENT_POSITION_FOLLOWING) !== 0 && (where & Node.DOCUMENT_POSITION_CONTAINED_BY) === 0;
    if (isAfter) return start;
  }
  return reading.text.length;
}

/** Code points of [start, end), without the blanks at its ends; null where nothing is left.
 * @param {string} text @param {number} start @param {number} end @returns {Quote | null} */
export function quoteOf(text, start, end) {
  while (start < end && /\s/.test(text[start])) start++;
  while (start < end && /\s/.test(text[end - 1])) end--;
  // half of a character is no quote, nor is a letter without its accents
  const low = (/** @type {number} */ at) => text.charCodeAt(at) >= 0xdc00 && text.charCodeAt(at) <= 0xdfff;
  if (low(start)) start--;
  while (end < text.length && (low(end) || /^\p{M}/u.test(text.slice(end, end + 2)))) end++;
  if (start >= end) return null;
  const first = points(text, start);
  const quote = text.slice(start, end);
  return { start: first, end: first + points(quote, quote.length), quote };
}

/** The words selected in an element. @param {Element} root @returns {Quote | null} */
export function selected(root) {
  const selection = getSelection();
  if (!selection || selection.isCollapsed || selection.rangeCount === 0) return null;
  const range = selection.getRangeAt(0);
  if (!range.intersectsNode(root)) return null;
  const reading = read(root);
  const inside = document.createRange();
  inside.selectNodeContents(root);
  const starts = range.compareBoundaryPoints(Range.START_TO_START, inside) >= 0;
  const ends = range.compareBoundaryPoints(Range.END_TO_END, inside) <= 0;
  const start = starts ? placeOf(reading, range.startContainer, range.startOffset) : 0;
  const end = ends ? placeOf(reading, range.endContainer, range.endOffset) : reading.text.length;
  return quoteOf(reading.text, start, end);
}

/** A stretch of the text, in UTF-16 units, as a range of the page. @param {Reading} reading @param {number} start @param {number} end */
export function rangeOf(reading, start, end) {
  const range = document.createRange();
  let open = false;
  for (const { node, start: at } of reading.nodes) {
    if (!open && start < at + node.data.length) {
      range.setStart(node, Math.max(0, start - at));
      open = true;
    }
    if (open && end <= at + node.data.length) {
      range.setEnd(node, end - at);
      return range;
    }
  }
  return null;
}

/** The sentences of a text, in UTF-16 units; line ends part them as well. @param {string} text @param {string} [language] */
export function sentences(text, language) {
  const found = [];
  const add = (/** @type {number} */ start, /** @type {string} */ piece) => {
    for (const line of piece.matchAll(/[^\r\n]+/g)) {
      if (/[\p{L}\p{N}]/u.test(line[0])) found.push({ start: start + line.index, end: start + line.index + line[0].length });
    }
  };
  if (typeof Intl.Segmenter === "function") {
    let begun = 0;
    for (const { segment, index } of new Intl.Segmenter(language, { granularity: "sentence" }).segment(text)) {
      // a short form such as `Ms.` ends no sentence
      if (/(^|[^\p{L}])(\p{Lu}\p{L}{0,2}|e\.g|i\.e|cf|vs)\.\s*$/u.test(segment)) continue;
      add(begun, text.slice(begun, index + segment.length));
      begun = index + segment.length;
    }
    add(begun, text.slice(begun));
  } else {
    for (const match of text.matchAll(/[^.!?。！？]+[.!?。！？]*\s*/g)) add(match.index, match[0]);
  }
  return found;
}

/** Draws ranges without touching the page. @param {string} name @param {Range[]} ranges */
export function draw(name, ranges) {
  if (!("highlights" in CSS)) return;
  if (ranges.length) CSS.highlights.set(name, new Highlight(...ranges));
  else CSS.highlights.delete(name);
}
