/** Colours of runs: by the run's id, so that a run has one colour on every screen and in every session, unless the user chose another. */

export const HUES = 12;
/** Line dashes, the second channel beside the hue; the first is a full line. */
export const DASHES = [[], [7, 3], [2, 3], [9, 3, 2, 3]];

/** Hash of a text (FNV-1a, 32 bit, with a final mix so that ids in a row are spread).
 * @param {string} text */
export function hash(text) {
  let value = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) {
    value ^= text.charCodeAt(i);
    value = Math.imul(value, 0x01000193);
  }
  value ^= value >>> 16;
  value = Math.imul(value, 0x85ebca6b);
  value ^= value >>> 13;
  return value >>> 0;
}

const CHOSEN = "naiad.colors";
/** Hues that the user chose, by run, kept in the browser. @type {Record<string, number>} */
let chosen = {};
try {
  chosen = JSON.parse(localStorage.getItem(CHOSEN) ?? "{}");
} catch { // outside of a browser, or in one that keeps nothing
}

/** Give a run a hue, or with null that of its id again; screens follow. @param {string} id @param {number|null} to */
export function choose(id, to) {
  const { [id]: _, ...rest } = chosen;
  chosen = to === null ? rest : { ...rest, [id]: to };
  try {
    localStorage.setItem(CHOSEN, JSON.stringify(chosen));
  } catch { // it lasts as long as the page
  }
  dispatchEvent(new Event("naiad-colors"));
}

/** Number of a run's hue, 0 to 11: the chosen one, else by its id. Ids that end in a number step through the hues, so that
 * neighbours differ.
 * @param {string} id */
export function hue(id) {
  if (Object.hasOwn(chosen, id)) return Math.abs(Number(chosen[id]) || 0) % HUES;
  const parts = /^(.*?)(\d{1,9})$/.exec(id);
  if (!parts) return hash(id) % HUES;
  return (hash(parts[1]) + Number(parts[2])) % HUES;
}

/** The CSS colour of a run. @param {string} id */
export const color = (id) => `var(--run-${hue(id)})`;

/** Dashes for runs drawn together: full lines, except where an earlier id of the list already has the hue.
 * @param {string[]} ids
 * @returns {Map<string, number[]>} */
export function dashes(ids) {
  const taken = new Map();
  const result = new Map();
  for (const id of [...ids].sort()) {
    const seen = taken.get(hue(id)) ?? 0;
    taken.set(hue(id), seen + 1);
    result.set(id, DASHES[seen % DASHES.length]);
  }
  return result;
}

/** Colours as a canvas takes them, of one theme. @type {Map<string, string>} */
const known = new Map();
let theme = "";
const dark = globalThis.matchMedia?.("(prefers-color-scheme: dark)");

/** Resolve a CSS colour (a token, for example) for drawing on a canvas. Each is asked of the browser once in a theme: a look at
 * computed styles for each of 50 curves takes a tenth of the time of their charts.
 * @param {Element} element in the page @param {string} value @returns {string} */
export function resolved(element, value) {
  const now = `${document.documentElement.dataset.theme} ${dark?.matches}`;
  if (now !== theme) known.clear();
  theme = now;
  const answer = known.get(value) ?? asked(element, value);
  known.set(value, answer);
  return answer;
}

function asked(element, value) {
  const probe = document.createElement("i");
  probe.style.color = value;
  probe.hidden = true;
  element.append(probe);
  const answer = getComputedStyle(probe).color;
  probe.remove();
  return answer;
}

/** The same colour with another opacity. @param {string} rgb as getComputedStyle gives it @param {number} alpha */
export function faded(rgb, alpha) {
  const found = /rgba?\(([^)]+)\)/.exec(rgb);
  if (!found) return rgb;
  const [r, g, b] = found[1].split(/[\s,/]+/);
  return `rgba(${r}, ${g}, ${b}, ${alpha})`;
}
