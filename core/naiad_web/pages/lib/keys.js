/** The keyboard map: single keys and two-key sequences, off while something is being typed. */
import { useEffect } from "./html.js";

/** Keys and what they do, as shown by "?". */
export const KEY_MAP = [
  ["/", "go to the filter or search"], ["j k", "next, previous row"], ["x", "select the row"], ["space", "show or hide the run's curves"], ["enter", "open the row"],
  ["c", "compare the selected runs"], ["g r", "runs"], ["g c", "charts"], ["g m", "models"], ["g p", "projects"], ["[ ]", "previous, next run on the same tab"],
  ["l", "log of the run"], ["s", "smooth more; shift s, less"], ["d", "differences only"], ["t", "light or dark"], ["?", "show these keys"], ["esc", "close, or leave a field"],
];

/** @type {Set<Record<string, (event: KeyboardEvent) => void>>} */
const maps = new Set();
let pending = "";
let since = 0;

function pressed(event) {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  const target = event.target instanceof Element ? event.target : null;
  if (target?.matches("input:not([type=checkbox]):not([type=range]), textarea, select, [contenteditable]")) {
    if (event.key === "Escape") /** @type {HTMLElement} */ (target).blur();
    return;
  }
  if (document.querySelector("dialog[open]")) return;
  const key = event.key;
  const pair = Date.now() - since < 1200 && pending ? `${pending} ${key}` : "";
  pending = key;
  since = Date.now();
  for (const wanted of pair ? [pair, key] : [key]) {
    for (const map of [...maps].reverse()) {
      if (!map[wanted]) continue;
      event.preventDefault();
      pending = "";
      map[wanted](event);
      return;
    }
  }
}

if (typeof document !== "undefined") document.addEventListener("keydown", pressed);

/** Listen to keys while a component is shown; the innermost map is asked first.
 * @param {Record<string, (event: KeyboardEvent) => void>} map */
export function useKeys(map) {
  useEffect(() => {
    maps.add(map);
    return () => {
      maps.delete(map);
    };
  });
}
