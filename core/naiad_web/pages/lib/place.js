/** The current place: the URL as state that components read, and the one way to change it. */
import { read, write } from "./url.js";
import { useEffect, useState } from "./html.js";

/** @typedef {import("./url.js").Place} Place */

const listeners = new Set();
/** A page read from a file has no server to name its screens: its place is kept in the fragment. */
let inFragment = false;

export function keepInFragment() {
  inFragment = true;
}

/** @returns {Place} */
export function here() {
  if (!inFragment) return read(location.pathname, location.search);
  const [path, search] = location.hash.replace(/^#/, "").split("?");
  return read(path || "/", search ? `?${search}` : "");
}

/** The URL of a place, as a link's target. @param {Partial<Place>} place */
export const href = (place) => (inFragment ? `#${write(place)}` : write(place));

/** The place where a run, or a version of a model, is shown.
 * @param {{id: string, project?: string}} run @param {string} project @param {string} kind @returns {Partial<Place>} */
export const addressOf = (run, project, kind) => (kind === "run" ? { screen: "run", project: run.project || project, id: run.id }
  : { screen: "model", project: run.project || project, id: run.id.slice(0, run.id.lastIndexOf("-")), tab: run.id });

/** Go to a place. @param {Partial<Place>} place @param {{replace?: boolean}} [options] */
export function go(place, { replace = false } = {}) {
  const url = href(place);
  if (url === (inFragment ? location.hash : location.pathname + location.search)) return;
  history[replace ? "replaceState" : "pushState"](null, "", url);
  announce();
}

/** Change parameters of the current place; typing replaces, clicking pushes.
 * @param {Record<string, any>} params @param {{replace?: boolean}} [options] */
export function change(params, options) {
  const place = here();
  go({ ...place, params: { ...place.params, ...params } }, options);
}

function announce() {
  for (const listener of [...listeners]) listener();
}

/** @returns {Place} */
export function usePlace() {
  const [place, setPlace] = useState(here);
  useEffect(() => {
    const follow = () => setPlace(here());
    listeners.add(follow);
    addEventListener("popstate", follow);
    addEventListener("hashchange", follow);
    follow();
    return () => {
      listeners.delete(follow);
      removeEventListener("popstate", follow);
      removeEventListener("hashchange", follow);
    };
  }, []);
  return place;
}

/** A click on a link of our own becomes a change of place without a reload. @param {MouseEvent} event */
export function follow(event) {
  if (event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const link = event.target instanceof Element ? event.target.closest("a[href]") : null;
  if (!link || link.hasAttribute("download") || link.getAttribute("target")) return;
  const to = link.getAttribute("href") ?? "";
  if (inFragment || !to.startsWith("/") || to.startsWith("/api/")) return;
  event.preventDefault();
  if (to !== location.pathname + location.search) {
    history.pushState(null, "", to);
    announce();
    scrollTo(0, 0);
  }
}
