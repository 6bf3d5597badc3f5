/** What surrounds every screen: the rail with the places to go, the keyboard map, dialogs, changes of runs, the page without a token, the theme. */
import { html, useEffect, useRef, useState } from "../lib/html.js";
import { href } from "../lib/place.js";
import { KEY_MAP, useKeys } from "../lib/keys.js";
import { visible, counted } from "../lib/format.js";
import { source } from "../lib/source.js";
import { Button, Failure } from "../widgets/controls.js";

const THEME = "naiad.theme";
/** What the browser remembers; a page read from a file may not be allowed to. @param {string} key */
export function recalled(key) {
  try {
    return localStorage.getItem(key) ?? "";
  } catch {
    return "";
  }
}

/** @param {string} key @param {string} value */
function remember(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch { // it is forgotten with the page
  }
}

const THEMES = ["", "light", "dark"];

const DENSITY = "naiad.density";

/** Apply the chosen theme and density; without a theme the system's is followed. */
export function themed() {
  for (const [key, name] of [[THEME, "theme"], [DENSITY, "density"]]) {
    const chosen = recalled(key);
    if (chosen) document.documentElement.dataset[name] = chosen;
    else delete document.documentElement.dataset[name];
  }
  dispatchEvent(new Event("naiad-theme"));
}

/** @param {{place: any, about: any, onKeys: () => void}} props */
export function Rail({ place, about, onKeys }) {
  const [theme, setTheme] = useState(recalled(THEME));
  const turn = () => {
    const isDark = document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    const next = THEMES.includes(theme) && theme === "" ? (isDark ? "light" : "dark") : "";
    remember(THEME, next);
    setTheme(next);
    themed();
  };
  const [density, setDensity] = useState(recalled(DENSITY));
  const widen = () => {
    const next = density ? "" : "roomy";
    remember(DENSITY, next);
    setDensity(next);
    themed();
  };
  useKeys({ t: turn });
  if (place.project) remember("naiad.project", place.project);
  const project = place.project || recalled("naiad.project");
  const runs = place.params.runs ?? [];
  const item = (screen, text, extra = {}) => html`<a class="item" href=${href({ screen, project, ...extra })}
    aria-current=${[place.screen, { run: "runs", model: "models" }[place.screen]].includes(screen) ? "page" : undefined}>${text}${
      screen === "compare" && runs.length > 0 && html`<span class="count">${runs.length}</span>`}</a>`;
  return html`<nav class="rail" aria-label="Places">
    <a class="brand" href=${href({ screen: "projects" })}><svg width="20" height="14" viewBox="0 0 20 14" aria-hidden="true" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round">
      <path d="M1 4c3-4 6-4 9 0s6 4 9 0M1 11c3-4 6-4 9 0s6 4 9 0" /></svg>naiad</a>
    ${project && html`<a class="project item" href=${href({ screen: "project", project })} title=${project}><bdi>${visible(project)}</bdi></a>
      ${item("runs", "Runs")}${item("compare", "Compare", { params: { runs } })}${source.isLive && item("models", "Models")}${item("artifacts", "Artifacts")}`}
    <div class="foot">
      <a class="item hide-phone" href=${href({ screen: "projects" })} aria-current=${place.screen === "projects" ? "page" : undefined}>Projects</a>
      <a class="item hide-phone" href=${href({ screen: "about" })} aria-current=${place.screen === "about" ? "page" : undefined}>About</a>
      <button type="button" class="button quiet" onClick=${turn} title="Light or dark (t)" aria-label=${`Theme: ${theme || "as the system"}`}>${theme === "dark" ? "☾ dark" : theme === "light" ? "☀ light" : "◐ system"}</button>
      <button type="button" class="button quiet hide-phone" onClick=${widen} aria-pressed=${String(Boolean(density))} title="Height of rows">${density ? "☰ roomy" : "≣ dense"}</button>
      <button type="button" class="button quiet hide-phone" onClick=${onKeys} title="Keyboard map (?)">? keys</button>
    </div>
  </nav>`;
}

/** @param {{onClose: () => void}} props */
export const KeyMap = ({ onClose }) => html`<${Dialog} title="Keyboard" onClose=${onClose}>
  <dl class="keys">${KEY_MAP.map(([keys, does]) => html`<dt key=${keys}>${keys.split(" ").map((key) => html`<kbd key=${key}>${key}</kbd> `)}</dt><dd>${does}</dd>`)}
    <dt><kbd>+</kbd> <kbd>−</kbd> <kbd>0</kbd></dt><dd>zoom a focused chart in, out, to the whole</dd></dl>
</${Dialog}>`;

/** @param {{title: string, children: any, onClose: () => void}} props */
export function Dialog({ title, children, onClose }) {
  const ref = useRef(null);
  useEffect(() => {
    const before = document.activeElement;
    ref.current.showModal();
    return () => before instanceof HTMLElement && before.focus();
  }, []);
  return html`<dialog ref=${ref} aria-label=${title} onClose=${onClose} onClick=${(event) => event.target === ref.current && onClose()}>
    <div class="bar" style=${{ marginBottom: "10px" }}><h2>${title}</h2><span class="grow"></span>
      <button type="button" class="button quiet" aria-label="Close" onClick=${onClose}>✕</button></div>${children}</dialog>`;
}

/** The page without a right to read. @param {{error: any}} props */
export const Locked = ({ error }) => html`<main class="lonely"><h1>This page needs a token</h1>
  <p>Open the address that <code>naiad ui</code> prints. For the server of a team, ask the owner of the project for a token. The browser keeps it.</p>
  <form class="bar" onSubmit=${(event) => {
    event.preventDefault();
    const given = String(new FormData(event.target).get("token") ?? "").replace(/^.*#token=/, "").trim();
    if (!given) return;
    localStorage.setItem("naiad.token", given);
    location.reload();
  }}><input class="input grow" name="token" type="password" autocomplete="off" aria-label="Token" placeholder="or paste the token here" /><button class="button primary">Open</button></form>
  <p class="faint">${error.message}</p></main>`;

/** @returns {[any, (toast: any) => void]} */
export function useToast() {
  const [toast, setToast] = useState(/** @type {any} */ (null));
  useEffect(() => {
    if (!toast) return undefined;
    const timer = setTimeout(() => setToast(null), 6000);
    return () => clearTimeout(timer);
  }, [toast]);
  return [toast, setToast];
}

/** @param {{toast: any, onClose: () => void}} props */
export const Toast = ({ toast, onClose }) => html`<div role="status" aria-live="polite">${toast && html`<div class="toast"><span>${toast.text}</span>
  ${toast.action && html`<${Button} onClick=${() => { onClose(); toast.action.run(); }}>${toast.action.text}</${Button}>`}<${Button} kind="quiet" label="Close" onClick=${onClose}>✕</${Button}></div>`}</div>`;

const words = (text) => text.split(",").map((word) => word.trim()).filter(Boolean);

/** Edit one run, or tags of several. @param {{ids: string[], facts?: any, onClose: () => void, onDone: (text: string) => void}} props */
export function EditRuns({ ids, facts, onClose, onDone }) {
  const [error, setError] = useState(/** @type {any} */ (null));
  const [known, setKnown] = useState(facts);
  const isOne = ids.length === 1;
  useEffect(() => {
    if (isOne && !facts) source.get(`/containers/${encodeURIComponent(ids[0])}`).then(setKnown, setError);
  }, []);
  const save = async (event) => {
    event.preventDefault();
    const form = new FormData(event.target);
    const text = (name) => String(form.get(name) ?? "");
    try {
      for (const id of ids) {
        const change = isOne
          ? { name: text("name"), description: text("description"), tags: { add: words(text("tags")).filter((tag) => !known.tags.includes(tag)), remove: known.tags.filter((tag) => !words(text("tags")).includes(tag)) } }
          : { tags: { add: words(text("add")), remove: words(text("remove")) } };
        await source.change("PATCH", `/containers/${encodeURIComponent(id)}`, change);
      }
      onDone(`${counted(ids.length, "run")} changed.`);
    } catch (failure) {
      setError(failure);
    }
  };
  return html`<${Dialog} title=${isOne ? `Edit ${ids[0]}` : `Edit ${ids.length} runs`} onClose=${onClose}>
    ${error && html`<${Failure} error=${error} />`}
    ${(known || !isOne) && html`<form onSubmit=${save}>${isOne ? html`
        <label class="field">Name <input class="input" name="name" value=${known.name ?? ""} /></label>
        <label class="field">Description <textarea class="input" name="description" rows="4" value=${known.description ?? ""}></textarea></label>
        <label class="field">Tags, separated by commas <input class="input" name="tags" value=${known.tags.join(", ")} /></label>`
      : html`<label class="field">Add tags, separated by commas <input class="input" name="add" /></label><label class="field">Remove tags <input class="input" name="remove" /></label>`}
      <div class="actions"><${Button} onClick=${onClose}>Cancel</${Button}><button class="button primary">Save</button></div></form>`}
  </${Dialog}>`;
}

/** @param {{project: string, url: string, onClose: () => void, onDone: () => void}} props */
export function SaveView({ project, url, onClose, onDone }) {
  const [error, setError] = useState(/** @type {any} */ (null));
  const save = async (event) => {
    event.preventDefault();
    const name = String(new FormData(event.target).get("name") ?? "").trim();
    if (!name) return;
    try {
      await source.change("PUT", "/views", { project, name, url });
      onDone();
    } catch (failure) {
      setError(failure);
    }
  };
  return html`<${Dialog} title="Save this view" onClose=${onClose}>${error && html`<${Failure} error=${error} />`}
    <form onSubmit=${save}><label class="field">Name <input class="input" name="name" required maxlength="100" /></label>
      <p class="faint">Its columns, filters, order and charts are kept as a field of the project.</p>
      <div class="actions"><${Button} onClick=${onClose}>Cancel</${Button}><button class="button primary">Save</button></div></form></${Dialog}>`;
}
