/** A log of any number of lines: colours of terminals, follow, search, times. */
import { html, cls, useEffect, useLayoutEffect, useRef, useState } from "../lib/html.js";
import { visible, whole } from "../lib/format.js";
import { Button, Empty, Failure, Toggle } from "./controls.js";

/** @typedef {{text: string, classes: string}} Span */

// OSC (to BEL or ST), CSI, other two-character escapes.
const ESCAPE = /\u001b\][^\u0007\u001b]*(?:\u0007|\u001b\\|$)|\u001b\[([0-9;:?<=>]*)[ -/]*([@-~])|\u001b[@-Z\\^_]|\u001b/g;

/** @param {string} line @returns {Span[]} */
export function spans(line) {
  if (!line.includes("\u001b")) return [{ text: line, classes: "" }];
  /** @type {Span[]} */
  const found = [];
  let style = { color: "", back: "", bold: false, faint: false, italic: false, under: false };
  let at = 0;
  const push = (text) => {
    if (!text) return;
    const { color, back, bold, faint, italic, under } = style;
    const classes = [color && `ansi-${color}`, back && `ansi-b${back}`, bold && "bold", faint && "dim", italic && "italic", under && "under"];
    found.push({ text, classes: classes.filter(Boolean).join(" ") });
  };
  for (const match of line.matchAll(ESCAPE)) {
    push(line.slice(at, match.index));
    at = /** @type {number} */ (match.index) + match[0].length;
    if (match[2] === "m") style = styled(style, match[1]);
  }
  push(line.slice(at));
  return found;
}

/** @param {any} style @param {string} codes */
function styled(style, codes) {
  const next = { ...style };
  const list = codes.split(/[;:]/).map(Number);
  for (let i = 0; i < list.length; i++) {
    const code = list[i] || 0;
    if (code === 0) Object.assign(next, { color: "", back: "", bold: false, faint: false, italic: false, under: false });
    else if (code === 1) next.bold = true;
    else if (code === 2) next.faint = true;
    else if (code === 3) next.italic = true;
    else if (code === 4) next.under = true;
    else if (code === 22) next.bold = next.faint = false;
    else if (code === 23) next.italic = false;
    else if (code === 24) next.under = false;
    else if (code >= 30 && code <= 37) next.color = String(code - 30);
    else if (code >= 90 && code <= 97) next.color = String(code - 90);
    else if (code === 39) next.color = "";
    else if (code >= 40 && code <= 47) next.back = String(code - 40);
    else if (code >= 100 && code <= 107) next.back = String(code - 100);
    else if (code === 49) next.back = "";
    else if (code === 38 || code === 48) {
      const name = list[i + 1] === 5 ? nearest256(list[i + 2]) : nearestRgb(list[i + 2], list[i + 3], list[i + 4]);
      i += list[i + 1] === 5 ? 2 : 4;
      next[code === 38 ? "color" : "back"] = name;
    }
  }
  return next;
}

/** The one of eight colours nearest to one of 256. @param {number} n */
function nearest256(n) {
  if (n < 16) return String(n % 8);
  if (n >= 232) return n < 244 ? "0" : "7";
  const index = n - 16;
  return nearestRgb(Math.floor(index / 36) * 51, (Math.floor(index / 6) % 6) * 51, (index % 6) * 51);
}

/** @param {number} r @param {number} g @param {number} b */
const nearestRgb = (r, g, b) => String((r > 127 ? 1 : 0) + (g > 127 ? 2 : 0) + (b > 127 ? 4 : 0));

/** A line without its sequences, for searching and copying. @param {string} line */
export const plain = (line) => (line.includes("\u001b") ? line.replace(ESCAPE, "") : line);

/** The level that a log line announces, for its colour. @param {string} line */
export function level(line) {
  const found = /\b(CRITICAL|FATAL|ERROR|WARN(?:ING)?|DEBUG|TRACE)\b|^(Traceback|\w+Error:)/.exec(line.slice(0, 200));
  if (!found) return "";
  if (found[2]) return "bad";
  return { C: "bad", F: "bad", E: "bad", W: "warn", D: "dim", T: "dim" }[found[1][0]] ?? "";
}

/**
 * @typedef {{text: string, step?: number, time?: number, stream?: string}} Line
 * @typedef {{count: number, fetch: (first: number, count: number, signal?: AbortSignal) => Promise<Line[]>,
 *   search: (text: string, signal?: AbortSignal) => Promise<{lines: number[], total: number}>, label: string, height?: number|string,
 *   follow?: boolean, onFollow?: (on: boolean) => void, line?: number, onLine?: (line: number, value: Line) => void, find?: string,
 *   onFind?: (text: string) => void, showStep?: boolean, onStep?: (on: boolean) => void, version?: any}} LogProps
 */

const ROW = 18;
/** Lines that are fetched together. */
export const PIECE = 500;
const MAX_HEIGHT = 8_000_000;

/** @param {LogProps} props */
export function Log(props) {
  const { count, label, follow = false, line = -1 } = props;
  const scroller = useRef(null);
  const pieces = useRef(new Map());
  const pending = useRef(new Map());
  const [, redraw] = useState(0);
  const [view, setView] = useState({ at: 0, height: 400 });
  const [text, setText] = useState(props.find ?? "");
  const [found, setFound] = useState(/** @type {{lines: number[], total: number}|null} */ (null));
  const [place, setPlace] = useState(0);
  const [error, setError] = useState(/** @type {any} */ (null));
  const [isWrapped, setWrapped] = useState(false);
  const wanted = useRef(0);

  const rows = Math.max(1, Math.floor(view.height / ROW));
  const furthest = Math.max(0, count - rows);
  const full = count * ROW;
  const height = Math.min(full, MAX_HEIGHT);
  const isScaled = full > MAX_HEIGHT;

  const put = (at) => {
    const next = Math.max(0, Math.min(furthest, at));
    wanted.current = next;
    setView((before) => (before.at === next ? before : { ...before, at: next }));
    const element = scroller.current;
    if (!element) return;
    const top = isScaled ? (next / furthest) * (height - element.clientHeight) : next * ROW;
    if (Math.abs(element.scrollTop - top) >= (isScaled ? 0.5 : 1)) {
      self.current = Math.round(top);
      element.scrollTop = top;
    }
  };
  const self = useRef(-1);

  useLayoutEffect(() => {
    const element = scroller.current;
    const measure = () => setView((before) => ({ ...before, height: element.clientHeight }));
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => observer.disconnect();
  }, []);

  const onScroll = () => {
    const element = scroller.current;
    if (self.current >= 0 && Math.abs(element.scrollTop - self.current) <= 1) {
      self.current = -1;
      return;
    }
    self.current = -1;
    const at = isScaled ? (element.scrollTop / Math.max(1, height - element.clientHeight)) * furthest : element.scrollTop / ROW;
    wanted.current = at;
    setView((before) => ({ ...before, at }));
    if (follow && at < furthest - 3) props.onFollow?.(false);
  };
  useEffect(() => {
    const element = scroller.current;
    if (!isScaled) return undefined;
    const wheel = (event) => { // one notch is a few lines, however tall the whole is
      event.preventDefault();
      put(wanted.current + event.deltaY / ROW);
      if (follow && event.deltaY < 0) props.onFollow?.(false);
    };
    element.addEventListener("wheel", wheel, { passive: false });
    return () => element.removeEventListener("wheel", wheel);
  });

  const isLinked = useRef(line >= 0); // a link to a line wins over following, until that is switched on again
  useLayoutEffect(() => {
    if (follow && !isLinked.current) put(count);
  }, [follow, count, view.height]);
  useLayoutEffect(() => {
    isLinked.current = line >= 0;
    if (line >= 0) put(line - Math.floor(rows / 3));
  }, [line, view.height > 0]);

  const first = Math.max(0, Math.floor(view.at) - 4), last = Math.min(count, Math.ceil(view.at) + rows + 5);
  useEffect(() => {
    for (let piece = Math.floor(first / PIECE); piece <= Math.floor(Math.max(first, last - 1) / PIECE); piece++) {
      const size = Math.min(PIECE, count - piece * PIECE);
      const have = pieces.current.get(piece)?.length ?? 0;
      if (size <= 0 || have >= size || pending.current.has(piece)) continue;
      const ask = props.fetch(piece * PIECE, PIECE);
      pending.current.set(piece, ask);
      ask.then((lines) => {
        pieces.current.set(piece, lines);
        if (pieces.current.size > 60) pieces.current.delete(pieces.current.keys().next().value);
        setError(null);
      }, setError).finally(() => {
        pending.current.delete(piece);
        redraw((n) => n + 1);
      });
    }
  }, [first, last, count, props.version]);
  useEffect(() => {
    pieces.current = new Map();
    redraw((n) => n + 1);
  }, [props.fetch]);

  useEffect(() => {
    if (!text) {
      setFound(null);
      return undefined;
    }
    const stop = new AbortController();
    const timer = setTimeout(() => {
      props.search(text, stop.signal).then((result) => {
        if (stop.signal.aborted) return;
        setFound(result);
        const next = result.lines.findIndex((n) => n >= Math.floor(wanted.current));
        const index = next < 0 ? 0 : next;
        setPlace(index);
        if (result.lines.length) jump(result.lines[index]);
      }, (failure) => stop.signal.aborted || setError(failure));
    }, 120);
    return () => {
      stop.abort();
      clearTimeout(timer);
    };
  }, [text, props.search]);

  const jump = (to) => {
    props.onFollow?.(false);
    put(to - Math.floor(rows / 3));
  };
  const step = (by) => {
    if (!found?.lines.length) return;
    const next = (place + by + found.lines.length) % found.lines.length;
    setPlace(next);
    jump(found.lines[next]);
  };
  const at = (n) => pieces.current.get(Math.floor(n / PIECE))?.[n % PIECE];
  const marked = found?.lines[place] ?? -1;
  const lines = [];
  for (let n = first; n < last; n++) lines.push(n);
  const digits = String(count).length;
  const onKeyDown = (event) => {
    const by = { ArrowDown: 1, ArrowUp: -1, PageDown: rows - 1, PageUp: 1 - rows, Home: -count, End: count, j: 1, k: -1 }[event.key];
    if (!by || event.target.matches("input") || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    if (by < 0) props.onFollow?.(false);
    put(Math.floor(wanted.current) + by);
  };
  return html`<section class="log" aria-label=${label}>
    <div class="bar">
      <input class="input" type="search" placeholder="Search the log" aria-label="Search the log" value=${text}
        onInput=${(event) => { setText(event.target.value); props.onFind?.(event.target.value); }}
        onKeyDown=${(event) => { if (event.key === "Enter") { event.preventDefault(); step(event.shiftKey ? -1 : 1); } }} />
      ${text && html`<span class="faint" aria-live="polite">${found ? found.total ? `${place + 1} of ${found.total.toLocaleString("en")}` : "not found" : "searching"}</span>
        <${Button} kind="quiet" label="Previous match" disabled=${!found?.lines.length} onClick=${() => step(-1)}>↑</${Button}>
        <${Button} kind="quiet" label="Next match" disabled=${!found?.lines.length} onClick=${() => step(1)}>↓</${Button}>`}
      <span class="grow"></span>
      <span class="faint">${count.toLocaleString("en")} ${count === 1 ? "line" : "lines"}</span>
      ${props.onStep && html`<${Toggle} on=${Boolean(props.showStep)} title="Steps instead of times" onChange=${props.onStep}>steps</${Toggle}>`}
      <${Toggle} on=${isWrapped} onChange=${setWrapped}>wrap</${Toggle}>
      ${props.onFollow && html`<${Toggle} on=${follow} onChange=${(on) => { isLinked.current = false; props.onFollow?.(on); }}>follow</${Toggle}>`}
    </div>
    ${error && html`<${Failure} error=${error} onRetry=${() => { setError(null); redraw((n) => n + 1); }} />`}
    <div class=${cls("log-scroll", isWrapped && "wrapped")} ref=${scroller} onScroll=${onScroll} onKeyDown=${onKeyDown} tabindex="0" role="log" aria-live="off"
      aria-label=${`${label}, ${count} lines`} style=${props.height ? { height: typeof props.height === "number" ? `${props.height}px` : props.height, flex: "none" } : undefined}>
      ${count === 0 && html`<${Empty} title="Nothing was printed" />`}
      <div class="log-space" style=${{ height: `${height}px` }}>
        <div class="log-lines" style=${{ transform: `translateY(${isScaled ? offset(scroller.current, view, first) : first * ROW}px)` }}>
          ${lines.map((n) => {
            const value = at(n);
            return html`<div key=${n} class=${cls("log-line", n === marked && "marked", n === line && "linked", value && level(plain(value.text)))}>
              <button type="button" class="number" tabindex="-1" style=${{ width: `${digits + 2}ch` }} aria-label=${`Link to line ${n + 1}`}
                onClick=${() => props.onLine?.(n, value)}>${n + 1}</button>
              <span class="time">${props.showStep ? whole(value?.step) : value?.time === undefined ? "" : clock(value.time)}</span>
              ${value ? html`<span class="text">${shown(value.text, text)}</span>` : html`<span class="ghost"></span>`}
            </div>`;
          })}
        </div>
      </div>
    </div>
  </section>`;
}

/** Where the first drawn line stands in a scroll area that is shorter than all lines. */
const offset = (element, view, first) => (element ? element.scrollTop : 0) - (view.at - first) * ROW;

/** @param {number} time milliseconds since 1970 */
function clock(time) {
  const when = new Date(time);
  return `${String(when.getHours()).padStart(2, "0")}:${String(when.getMinutes()).padStart(2, "0")}:${String(when.getSeconds()).padStart(2, "0")}`;
}

const LONGEST = 4000;

/** One line as spans with the found text marked, also where a colour changes within it. @param {string} line @param {string} sought */
function shown(line, sought) {
  const cut = line.length > LONGEST ? line.slice(0, LONGEST) : line;
  const pieces = spans(cut.replace(/\t/g, "    "));
  const whole = pieces.map((piece) => piece.text).join("").toLowerCase();
  const hits = [];
  for (let at = sought ? whole.indexOf(sought.toLowerCase()) : -1; at >= 0 && hits.length < 200; at = whole.indexOf(sought.toLowerCase(), at + sought.length)) hits.push(at);
  let from = 0;
  const parts = pieces.map((piece, i) => {
    const start = from, end = from += piece.text.length;
    const inner = hits.length ? cutAt(piece.text, start, end, hits, sought.length) : visible(piece.text);
    return html`<span key=${i} class=${piece.classes || undefined}>${inner}</span>`;
  });
  return cut === line ? parts : [...parts, html`<span class="faint" key="more"> … ${(line.length - LONGEST).toLocaleString("en")} characters more</span>`];
}

/** A piece of a line from `start` to `end`, with the parts of it that hits cover marked. */
function cutAt(text, start, end, hits, size) {
  const parts = [];
  let at = start;
  for (const hit of hits) {
    const from = Math.max(hit, at), to = Math.min(hit + size, end);
    if (to <= from) continue;
    parts.push(visible(text.slice(at - start, from - start)), html`<mark key=${from}>${visible(text.slice(from - start, to - start))}</mark>`);
    at = to;
  }
  parts.push(visible(text.slice(at - start)));
  return parts;
}
