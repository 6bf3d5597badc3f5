/** Small controls: buttons, toggles, popovers, chips, state marks, and what stands in for data that is not there. */
import { html, cls, useEffect, useRef, useState } from "../lib/html.js";
import { color } from "../lib/color.js";
import { ago, visible } from "../lib/format.js";

/** @param {any} props */
export const Button = ({ children, kind = "", label = "", pressed, ...rest }) => html`
  <button type="button" class=${cls("button", kind)} aria-label=${label || undefined} title=${label || undefined}
    aria-pressed=${pressed === undefined ? undefined : String(pressed)} ...${rest}>${children}</button>`;

/** @param {any} props */
export const Toggle = ({ on, onChange, children, ...rest }) => html`
  <label class="toggle"><input type="checkbox" checked=${on} onChange=${(e) => onChange(e.target.checked)} ...${rest} />
    <span>${children}</span></label>`;

/** One of a few values, as a row of buttons. @param {any} props */
export const Choice = ({ label, value, options, onChange }) => html`
  <div class="choice" role="radiogroup" aria-label=${label}>
    ${options.map(([key, text], index) => html`<button type="button" role="radio" aria-checked=${String(value === key)} key=${key}
      tabindex=${value === key || (index === 0 && !options.some(([k]) => k === value)) ? 0 : -1}
      onKeyDown=${(event) => {
        const move = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
        if (!move) return;
        event.preventDefault();
        event.stopPropagation();
        const next = (index + move + options.length) % options.length;
        onChange(options[next][0]);
        event.currentTarget.parentElement.children[next].focus();
      }}
      onClick=${() => onChange(key)}>${text}</button>`)}
  </div>`;

/** A button that opens a panel; Escape, a click outside or the panel's `close` shuts it.
 * @param {{label: any, title?: string, kind?: string, align?: string, children: any, name?: string, startOpen?: boolean}} props */
export function Popover({ label, title = "", kind = "", align = "start", children, name = "", startOpen = false }) {
  const [isOpen, setOpen] = useState(startOpen);
  const root = useRef(null);
  const close = () => {
    setOpen(false);
    root.current?.querySelector("button")?.focus();
  };
  useEffect(() => {
    if (!isOpen) return undefined;
    const outside = (event) => {
      if (root.current && !root.current.contains(event.target)) setOpen(false);
    };
    addEventListener("pointerdown", outside);
    if (!startOpen) root.current?.querySelector(".panel input, .panel button, .panel [tabindex]")?.focus();
    return () => removeEventListener("pointerdown", outside);
  }, [isOpen]);
  const onKeyDown = (event) => {
    if (event.key === "Escape" && isOpen) {
      event.stopPropagation();
      close();
    }
  };
  return html`<span class="popover" ref=${root} onKeyDown=${onKeyDown}>
    <button type="button" class=${cls("button", kind)} aria-haspopup="dialog" aria-expanded=${String(isOpen)}
      aria-label=${title || undefined} title=${title || undefined} onClick=${() => setOpen(!isOpen)}>${label}</button>
    ${isOpen && html`<div class=${cls("panel", `to-${align}`)} role="dialog" aria-label=${name || title || "Options"}>
      ${typeof children === "function" ? children(close) : children}</div>`}
  </span>`;
}

/** A list of actions in a popover. @param {{items: any[], label: any, title: string, align?: string, kind?: string}} props */
export const Menu = ({ items, label, title, align = "end", kind = "quiet" }) => html`
  <${Popover} label=${label} title=${title} align=${align} kind=${kind}>
    ${(close) => html`<ul class="menu">${items.filter(Boolean).map((item) => html`<li key=${item.text}>
      <button type="button" disabled=${item.disabled} onClick=${() => { close(); item.run(); }}>
        <span>${item.text}</span>${item.isOn && html`<span aria-hidden="true">✓</span><span class="spoken">chosen</span>`}${item.keys && html`<kbd>${item.keys}</kbd>`}</button></li>`)}</ul>`}
  </${Popover}>`;

const MATCHES = 200;

/** Fields found by typing, each as an item: a project may have more than a list can show, and those cut off could not be chosen.
 * @param {{label: string, names: string[], item: (name: string) => any, kind?: string}} props */
function Found({ label, names, item, kind = "choices" }) {
  const [text, setText] = useState("");
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const found = names.filter((name) => words.every((word) => name.toLowerCase().includes(word)));
  return html`<div class="found">
    <input class="input" type="search" placeholder=${`Search ${names.length.toLocaleString("en")} fields`} aria-label=${`Field for ${label}`} value=${text} onInput=${(e) => setText(e.target.value)} />
    <ul class=${kind}>${found.slice(0, MATCHES).map((name) => html`<li key=${name}>${item(name)}</li>`)}</ul>
    ${found.length > MATCHES && html`<p class="faint">${(found.length - MATCHES).toLocaleString("en")} more: type a part of the name.</p>`}</div>`;
}

/** One of many fields. @param {{label: string, value: string, names: string[], onChange: (name: string) => void, none?: string}} props */
export const FieldList = ({ label, value, names, onChange, none = "" }) => html`<${Found} label=${label} names=${none ? ["", ...names] : names} kind="menu choices" item=${(name) => html`
  <button type="button" onClick=${() => onChange(name)}><span>${visible(name) || none}</span>${name === value && html`<span aria-hidden="true">✓</span><span class="spoken">chosen</span>`}</button>`} />`;

/** Some of many fields, in the order in which they were chosen. @param {{label: string, names: string[], chosen: string[], onChange: (chosen: string[]) => void, most?: number}} props */
export const FieldChecks = ({ label, names, chosen, onChange, most = Infinity }) => html`<${Found} label=${label} names=${names} item=${(name) => {
  const isOn = chosen.includes(name);
  return html`<${Toggle} on=${isOn} disabled=${!isOn && chosen.length >= most} onChange=${() => onChange(isOn ? chosen.filter((one) => one !== name) : [...chosen, name])}>${visible(name)}</${Toggle}>`;
}} />`;

/** A button that opens such a list. @param {{label: string, value: string, names: string[], onChange: (name: string) => void, none?: string}} props */
export const FieldSelect = (props) => html`<span class="toggle">${props.label} <${Popover} label=${html`<bdi>${visible(props.value || props.none || "")}</bdi>`} title=${`${props.label}: ${props.value || props.none || ""}`} name=${props.label}>${(close) => html`
  <${FieldList} ...${props} onChange=${(name) => { close(); props.onChange(name); }} />`}</${Popover}></span>`;

/** @param {{id: string, name?: string, hollow?: boolean}} props */
export const Swatch = ({ id, hollow = false }) => html`
  <span class=${cls("swatch", hollow && "hollow")} style=${{ color: color(id) }} aria-hidden="true"></span>`;

export const STATES = {
  running: ["running", "●"], finished: ["finished", "✓"], failed: ["failed", "✕"], killed: ["killed", "✕"],
  terminated: ["terminated", "■"], unknown: ["unknown", "?"], damaged: ["damaged", "!"], unreadable: ["unreadable", "!"],
};

/** State of a run: a sign, the word, and the age of its last sign of life where that matters.
 * @param {{state: string, age?: number}} props */
export const State = ({ state, age }) => {
  const [word, sign] = STATES[state] ?? [state || "", "·"];
  return html`<span class=${cls("state", `is-${word}`)}><span class="sign" aria-hidden="true">${sign}</span> ${word}${
    age !== undefined && (word === "running" || word === "unknown") && html` <span class="faint">${ago(age)}</span>`}</span>`;
};

/** @param {{text: string, onRemove?: () => void, onClick?: () => void, on?: boolean}} props */
export const Tag = ({ text, onRemove, onClick, on }) => html`<span class=${cls("tag", on && "on")}>${
  onClick ? html`<button type="button" onClick=${onClick}>${visible(text)}</button>` : html`<bdi>${visible(text)}</bdi>`}${
  onRemove && html`<button type="button" class="remove" aria-label=${`Remove ${text}`} onClick=${onRemove}>×</button>`}</span>`;

/** Lines of grey where content will be, at once. @param {{lines?: number, label?: string}} props */
export const Skeleton = ({ lines = 4, label = "Loading" }) => html`<div class="skeleton" role="status">
  <span class="spoken">${label}</span>
  ${Array.from({ length: lines }, (_, i) => html`<span key=${i} style=${{ width: `${[92, 74, 83, 61][i % 4]}%` }}></span>`)}</div>`;

/** @param {{title: string, children?: any}} props */
export const Empty = ({ title, children }) => html`<div class="empty"><p class="empty-title">${title}</p>${
  children && html`<div class="faint">${children}</div>`}</div>`;

/** The parts of a screen; the one that is shown is scrolled into view where not all of them fit.
 * @param {{label: string, tabs: string[][], tab: string, to: (key: string) => string}} props */
export function Tabs({ label, tabs, tab, to }) {
  const nav = useRef(null);
  useEffect(() => nav.current.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" }), [tab]);
  return html`<nav class="tabs" ref=${nav} aria-label=${label}>${tabs.map(([key, name]) => html`<a key=${key} href=${to(key)} aria-current=${tab === key ? "page" : undefined}>${name}</a>`)}</nav>`;
}

/** One failure, said where it happened, with a way to try again. @param {{error: any, onRetry?: () => void}} props */
export const Failure = ({ error, onRetry }) => html`<div class="failure" role="alert">
  <p>${String(error?.message ?? error)}</p>${onRetry && !error?.isLasting && html`<${Button} onClick=${onRetry}>Try again</${Button}>`}</div>`;

/** In the place of something that is not there: its failure, or lines of grey until it is loaded.
 * @param {{error: any, again: () => void}} loaded @param {number} [lines] */
export const waiting = (loaded, lines) => (loaded.error ? html`<${Failure} error=${loaded.error} onRetry=${loaded.again} />` : html`<${Skeleton} lines=${lines} />`);

/** Two loads as one, for `waiting`. */
export const both = (a, b) => ({ error: a.error ?? b.error, again: () => { a.again(); b.again(); } });

/** Copy a text; the button confirms it. @param {{text: () => any, children?: any, label: string, kind?: string}} props */
export function Copy({ text, children = "Copy", label, kind = "quiet" }) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    await copied(String(await text()));
    setDone(true);
    setTimeout(() => setDone(false), 1200);
  };
  return html`<${Button} kind=${kind} label=${label} onClick=${copy}>${done ? "Copied" : children}</${Button}>`;
}

/** @param {string} text */
export async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

/** Give the user a file. @param {string} name @param {Blob|string} content @param {string} [type] */
export function saved(name, content, type = "text/plain") {
  const blob = content instanceof Blob ? content : new Blob([content], { type });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** A field path with its namespace set back, so that the last part is read first. @param {{path: string}} props */
export const Path = ({ path }) => {
  const cut = path.lastIndexOf("/") + 1;
  return html`<bdi class="path" title=${path}><span class="faint">${visible(path.slice(0, cut))}</span>${visible(path.slice(cut))}</bdi>`;
};

const PATIENCE_MS = 60_000; // a request over a connection that was lost may never end

/** Load something when its inputs change: what was loaded before stays until the new is there. For a new version, and by
 * `again`, it is loaded once more, after the load that is going on: where changes come faster than answers, nothing new
 * would be shown if they stopped it.
 * @template T @param {(signal: AbortSignal) => Promise<T>} load @param {any[]} inputs @param {any} [version]
 * @returns {{data: T|undefined, error: any, isLoading: boolean, again: () => void}} */
export function useLoaded(load, inputs, version) {
  const [state, setState] = useState(/** @type {any} */ ({ data: undefined, error: null, isLoading: true }));
  const { current: own } = useRef(/** @type {any} */ ({}));
  own.load = load;
  const again = () => {
    if (own.running && (own.running.signal.aborted || performance.now() - own.since < PATIENCE_MS)) {
      own.isStale = true;
      return;
    }
    own.running?.abort();
    Object.assign(own, { isStale: false, since: performance.now() });
    const { signal } = (own.running = new AbortController());
    const end = (/** @type {any} */ next) => {
      if (signal.aborted) return;
      own.running = null;
      setState(next);
      if (own.isStale) again();
    };
    setState((before) => ({ ...before, isLoading: true }));
    own.load(signal).then((data) => end({ data, error: null, isLoading: false }), (error) => end((before) => ({ ...before, error, isLoading: false })));
  };
  useEffect(() => {
    own.running = null;
    own.version = version;
    again();
    return () => (own.running ??= new AbortController()).abort(); // it stays: nothing is loaded any more
  }, inputs);
  useEffect(() => {
    if (own.version !== version) again();
    own.version = version;
  }, [version]);
  return { ...state, again };
}

/** A component of a module that is loaded when it is first shown.
 * @param {() => Promise<any>} load @param {string} name of the component @returns {(props: any) => any} */
export function later(load, name) {
  let there = /** @type {any} */ (null);
  return function Later(props) {
    const module = useLoaded(async () => (there = await load()), []);
    if (there) return html`<${there[name]} ...${props} />`;
    if (module.error) return html`<${Failure} error="A part of the page could not be loaded. Is naiad ui still running?" onRetry=${() => location.reload()} />`;
    return html`<${Skeleton} lines=${8} />`;
  };
}

/** Size of an element, followed. @returns {[{current: any}, {width: number, height: number}]} */
export function useSize() {
  const ref = useRef(null);
  const [size, setSize] = useState({ width: 0, height: 0 });
  useEffect(() => {
    if (!ref.current) return undefined;
    let frame = 0;
    const observer = new ResizeObserver(([entry]) => {
      const { width, height } = entry.contentRect;
      cancelAnimationFrame(frame);
      frame = requestAnimationFrame(() => setSize((before) => (before.width === width && before.height === height ? before : { width, height })));
    });
    observer.observe(ref.current);
    return () => {
      observer.disconnect();
      cancelAnimationFrame(frame);
    };
  }, [ref.current]);
  return [ref, size];
}
