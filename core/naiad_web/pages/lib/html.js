/** Preact with htm: `html` builds virtual nodes from a template; every value in it becomes text, never markup. */
import { h } from "../vendor/preact.js";
import htm from "../vendor/htm.js";

export { render, Fragment, Component, createContext, h } from "../vendor/preact.js";
export {
  useState, useEffect, useLayoutEffect, useMemo, useCallback, useRef, useContext, useReducer,
} from "../vendor/hooks.js";

export const html = htm.bind(h);

/** Join class names; false values are left out.
 * @param {...(string|false|null|undefined)} names */
export const cls = (...names) => names.filter(Boolean).join(" ");
