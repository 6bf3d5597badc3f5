/** Places: every screen is its URL, {screen, project, id, tab, params} with params typed by SCHEMA; the current one is the state
 * that components read, and there is one way to change it. */
import { useEffect, useState } from "./html.js";

/** Type and default of each parameter; one that equals its default is left out of the URL.
 * @type {Record<string, {type: "text"|"list"|"number"|"flag"|"range"|"record", initial: any}>} */
export const SCHEMA = {
  q: { type: "text", initial: "" },            // query
  sort: { type: "list", initial: [] },         // columns; "-" before one sorts it downwards
  cols: { type: "list", initial: [] },
  pins: { type: "list", initial: [] },
  widths: { type: "record", initial: {} },
  titles: { type: "record", initial: {} },
  scales: { type: "list", initial: [] },       // columns whose cells are shaded by their value
  formats: { type: "record", initial: {} },    // how the numbers of a column are written
  group: { type: "list", initial: [] },
  tree: { type: "flag", initial: false },      // runs below their parents
  open: { type: "list", initial: [] },         // open groups or namespaces
  trash: { type: "flag", initial: false },
  runs: { type: "list", initial: [] },         // selected for comparing
  kind: { type: "text", initial: "run" },      // of what is compared: run or model_version
  hidden: { type: "list", initial: [] },       // runs without their eye
  ref: { type: "text", initial: "" },          // the reference run
  diff: { type: "flag", initial: false },      // differences only
  split: { type: "flag", initial: false },     // charts beside the table
  m: { type: "text", initial: "" },            // metrics shown
  pin: { type: "list", initial: [] },          // pinned charts
  full: { type: "text", initial: "" },         // the chart in full screen
  x: { type: "text", initial: "step" },
  smooth: { type: "number", initial: 0 },
  logx: { type: "flag", initial: false },
  logy: { type: "flag", initial: false },
  clip: { type: "flag", initial: false },      // outliers clipped
  band: { type: "text", initial: "" },         // field to group curves by
  sync: { type: "flag", initial: false },      // zoom together
  zoom: { type: "range", initial: null },      // of all charts, when they zoom together
  zooms: { type: "record", initial: {} },      // of each chart by its path
  path: { type: "text", initial: "" },
  find: { type: "text", initial: "" },
  line: { type: "number", initial: -1 },
  follow: { type: "flag", initial: false },
  step: { type: "number", initial: -1 },
  entry: { type: "text", initial: "" },
  axes: { type: "list", initial: [] },         // of parallel coordinates
  xf: { type: "text", initial: "" },           // scatter: parameter
  yf: { type: "text", initial: "" },           // scatter: metric
  share: { type: "number", initial: 0.5 },     // of runs that count as the better ones
  mode: { type: "text", initial: "" },
};

/** @param {string[]} items */
export const joined = (items) => items.map((item) => item.replace(/[\\,]/g, "\\$&") || "\\0").join(",");

/** @param {string} text @returns {string[]} */
export function split(text) {
  if (text === "") return [];
  const items = [""];
  for (let i = 0; i < text.length; i++) {
    if (text[i] === "\\" && i + 1 < text.length) {
      i += 1;
      if (text[i] !== "0") items[items.length - 1] += text[i];
    } else if (text[i] === ",") items.push("");
    else items[items.length - 1] += text[i];
  }
  return items;
}

/** @type {Record<string, {write: (value: any) => string, read: (text: string, initial: any) => any}>} */
const CODECS = {
  text: { write: String, read: String },
  list: { write: joined, read: split },
  flag: { write: (value) => (value ? "1" : "0"), read: (text) => text !== "0" && text !== "" },
  number: { write: String, read: (text, initial) => (text !== "" && Number.isFinite(+text) ? +text : initial) },
  range: {
    write: (value) => (value ? `${value[0]}~${value[1]}` : ""),
    read: (text, initial) => {
      const ends = text.split("~").map(Number);
      return ends.length === 2 && ends.every(Number.isFinite) && ends[0] < ends[1] ? ends : initial;
    },
  },
  record: {
    write: (value) => joined(Object.entries(value).flatMap(([key, item]) => [key, String(item)])),
    read: (text) => {
      const flat = split(text);
      return Object.fromEntries(flat.flatMap((key, i) => (i % 2 === 0 && i + 1 < flat.length ? [[key, flat[i + 1]]] : [])));
    },
  },
};

const PLACES = /** @type {[string, string[]][]} */ ([
  ["projects", []],
  ["about", ["about"]],
  ["runs", ["p", ":project", "runs"]],
  ["run", ["p", ":project", "runs", ":id", ":tab?"]],
  ["compare", ["p", ":project", "compare", ":tab?"]],
  ["models", ["p", ":project", "models"]],
  ["model", ["p", ":project", "models", ":id", ":tab?"]],
  ["artifacts", ["p", ":project", "artifacts"]],
  ["project", ["p", ":project", ":tab?"]],
]);


/** @typedef {{screen: string, project: string, id: string, tab: string, params: Record<string, any>}} Place */

/** @returns {Record<string, any>} */
export const initialParams = () => Object.fromEntries(Object.entries(SCHEMA).map(([key, { initial }]) => [key, initial]));

/** Read a URL's path and query. Unknown paths are the screen "nowhere"; unknown parameters are dropped.
 * @param {string} pathname @param {string} search @returns {Place} */
export function read(pathname, search) {
  const parts = pathname.split("/").filter(Boolean).map(decoded);
  const place = { screen: "nowhere", project: "", id: "", tab: "", params: initialParams() };
  for (const [screen, pattern] of PLACES) {
    const found = matched(pattern, parts);
    if (found) {
      Object.assign(place, { screen, ...found });
      break;
    }
  }
  for (const [key, text] of new URLSearchParams(search)) {
    const row = SCHEMA[key];
    if (row) place.params[key] = CODECS[row.type].read(text, row.initial);
  }
  return place;
}

/** Write a place as a URL. @param {Partial<Place>} place @returns {string} */
export function write(place) {
  const row = PLACES.find(([screen]) => screen === place.screen);
  const pattern = row ? row[1] : [];
  const parts = [];
  for (const part of pattern) {
    if (!part.startsWith(":")) parts.push(part);
    else {
      const value = place[part.slice(1).replace("?", "")];
      if (value) parts.push(encodeURIComponent(value).replace(/^\.+$/, (dots) => "%2E".repeat(dots.length)));
    }
  }
  const query = new URLSearchParams();
  for (const [key, { type, initial }] of Object.entries(SCHEMA)) {
    const value = place.params?.[key];
    if (value === undefined || value === null) continue;
    const text = CODECS[type].write(value);
    if (initial === null ? text !== "" : text !== CODECS[type].write(initial)) query.set(key, text);
  }
  const tail = query.toString();
  return `/${parts.join("/")}${tail ? `?${tail}` : ""}`;
}

/** @param {string[]} pattern @param {string[]} parts */
function matched(pattern, parts) {
  const required = pattern.filter((part) => !part.endsWith("?")).length;
  if (parts.length < required || parts.length > pattern.length) return null;
  const found = {};
  for (let i = 0; i < parts.length; i++) {
    const part = pattern[i];
    if (part.startsWith(":")) found[part.slice(1).replace("?", "")] = parts[i];
    else if (part !== parts[i]) return null;
  }
  return found;
}

/** @param {string} part */
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

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
