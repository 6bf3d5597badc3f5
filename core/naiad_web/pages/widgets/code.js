/** Source code: its words in colours with line numbers, patches as `git diff` prints them, and differences with the changed words marked. */
import { html, cls, useMemo, useState } from "../lib/html.js";
import { counted, visible } from "../lib/format.js";
import { Button, Copy, Empty } from "./controls.js";

/** @typedef {{text: string, kind: string}} Token */

const words = (text) => new Set(text.split(" "));
const PYTHON = words("False None True and as assert async await break case class continue def del elif else except finally for from global if import in is lambda match nonlocal not or pass raise return try while with yield self");
const C_LIKE = words("auto break case catch char class const continue default delete do double else enum export extends extern false final float for from function if implements import in instanceof int interface let long namespace new null private protected public return short signed sizeof static struct super switch template this throw true try typedef typeof undefined union unsigned using var virtual void while async await yield fn impl mut pub use match mod trait where");
const SHELL = words("if then else elif fi for while do done case esac in function return export local set source echo exit cd");
const DATA = words("true false null yes no on off none");
const SQL = words("select from where and or not insert into values update set delete create table index join left right inner on group by order limit as primary key null");

/** How strings, comments and names look in a language. */
const LANGUAGES = {
  python: { keywords: PYTHON, comment: /#[^\n]*/y, string: /(?:[rbfu]{0,2})("""[\s\S]*?(?:"""|$)|'''[\s\S]*?(?:'''|$)|"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?)/iy, special: /@[\w.]+/y },
  c: { keywords: C_LIKE, comment: /\/\/[^\n]*|\/\*[\s\S]*?(?:\*\/|$)/y, string: /"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?|`(?:\\.|[^`\\])*`?/y, special: /#\s*\w+/y },
  shell: { keywords: SHELL, comment: /#[^\n]*/y, string: /"(?:\\.|[^"\\])*"?|'[^']*'?/y, special: /\$\{?\w+\}?/y },
  data: { keywords: DATA, comment: /#[^\n]*/y, string: /"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?/y, special: /^[ \t-]*[\w."-]+(?=\s*[:=])/my },
  json: { keywords: DATA, comment: /\/\/[^\n]*/y, string: /"(?:\\.|[^"\\\n])*"?/y, special: /"(?:\\.|[^"\\\n])*"(?=\s*:)/y },
  sql: { keywords: SQL, comment: /--[^\n]*/y, string: /'[^']*'?/y, special: /@\w+/y, anyCase: true },
};

const BY_EXTENSION = {
  py: "python", pyi: "python", ipynb: "json", js: "c", mjs: "c", ts: "c", jsx: "c", tsx: "c", c: "c", h: "c", cc: "c", cpp: "c", cu: "c", hpp: "c",
  java: "c", go: "c", rs: "c", swift: "c", kt: "c", css: "c", sh: "shell", bash: "shell", zsh: "shell", yaml: "data", yml: "data", toml: "data",
  ini: "data", cfg: "data", json: "json", jsonl: "json", sql: "sql",
};

/** The language of a file, or "". @param {string} name */
export const language = (name) => BY_EXTENSION[/\.(\w+)$/.exec(name.toLowerCase())?.[1] ?? ""] ?? "";

const NUMBER = /\b(?:0[xob][\da-f_]+|\d[\d_]*(?:\.\d[\d_]*)?(?:e[+-]?\d+)?)\b/iy;
const NAME = /[A-Za-z_]\w*/y;
const LIMIT = 400_000;

/** @param {string} text @param {string} name of a language @returns {Token[]} */
export function tokens(text, name) {
  const rules = LANGUAGES[name];
  if (!rules || text.length > LIMIT) return [{ text, kind: "" }];
  /** @type {Token[]} */
  const found = [];
  let at = 0, plainFrom = 0;
  const take = (pattern, kind) => {
    pattern.lastIndex = at;
    const match = pattern.exec(text);
    if (!match || !match[0]) return false;
    if (at > plainFrom) found.push({ text: text.slice(plainFrom, at), kind: "" });
    found.push({ text: match[0], kind });
    at += match[0].length;
    plainFrom = at;
    return true;
  };
  while (at < text.length) {
    if (take(rules.comment, "comment") || take(rules.special, "name") || take(rules.string, "string") || take(NUMBER, "number")) continue;
    NAME.lastIndex = at;
    const word = NAME.exec(text)?.[0];
    if (word) {
      if (rules.keywords.has(rules.anyCase ? word.toLowerCase() : word)) take(NAME, "keyword");
      else if (/^\s*\(/.test(text.slice(at + word.length, at + word.length + 3))) take(NAME, "call");
      else at += word.length;
    } else at += 1;
  }
  if (at > plainFrom) found.push({ text: text.slice(plainFrom), kind: "" });
  return found;
}

/** Tokens, line by line. @param {string} text @param {string} name @returns {Token[][]} */
export function lines(text, name) {
  /** @type {Token[][]} */
  const all = [[]];
  for (const token of tokens(text, name)) {
    const parts = token.text.split("\n");
    for (const [i, part] of parts.entries()) {
      if (i) all.push([]);
      if (part) all[all.length - 1].push({ text: part, kind: token.kind });
    }
  }
  return all;
}

/** @typedef {[" "|"-"|"+", string]} DiffLine */
/** @typedef {{left: number, right: number, lines: DiffLine[], head?: string}} Hunk */

/** @param {string} text @returns {{name: string, hunks: Hunk[], added: number, removed: number}[]} */
export function parsed(text) {
  /** @type {any[]} */
  const files = [];
  let file = /** @type {any} */ (null), hunk = /** @type {any} */ (null);
  for (const line of text.split("\n")) {
    const header = /^@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@ ?(.*)$/.exec(line);
    if (line.startsWith("diff --git ")) {
      file = { name: / b\/(.*)$/.exec(line)?.[1] ?? line.slice(11), hunks: [], added: 0, removed: 0 };
      files.push(file);
      hunk = null;
    } else if (header) {
      if (!file) files.push(file = { name: "", hunks: [], added: 0, removed: 0 });
      hunk = { left: +header[1], right: +header[2], lines: [], head: header[3] };
      file.hunks.push(hunk);
    } else if (hunk && /^[ +-]/.test(line)) {
      hunk.lines.push([line[0], line.slice(1)]);
      if (line[0] === "+") file.added += 1;
      if (line[0] === "-") file.removed += 1;
    } else if (line.startsWith("+++ ") && file && !hunk) {
      const name = line.slice(4).replace(/^b\//, "").split("\t")[0];
      if (name !== "/dev/null") file.name = name;
    } else if (!line.startsWith("\\")) hunk = line === "" ? hunk : null;
  }
  return files;
}

/** The middle of two lines that differs: lengths of the common start and end. @param {string} a @param {string} b */
export function changed(a, b) {
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start += 1;
  let end = 0;
  while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end += 1;
  return { start, end };
}

const FIRST = 2000;

/** @param {{text: string, name: string}} props */
export function Code({ text, name }) {
  const [isWhole, setWhole] = useState(false);
  const all = useMemo(() => lines(text.replace(/\n$/, ""), language(name)), [text, name]);
  const shown = isWhole ? all : all.slice(0, FIRST);
  return html`<section class="code" aria-label=${name}>
    <div class="bar"><span class="mono strong">${visible(name)}</span><span class="faint">${counted(all.length, "line")}</span><span class="grow"></span>
      <${Copy} text=${() => text} label=${`Copy ${name}`} /></div>
    <div class="code-scroll" tabindex="0" role="group" aria-label=${`Text of ${name}`}><pre class="code-lines">${shown.map((tokens, i) => html`<div key=${i} class="code-line"><span
      class="number" data-number=${i + 1}></span><code>${tokens.map((token, k) => (token.kind
        ? html`<span key=${k} class=${`tok-${token.kind}`}>${visible(token.text)}</span>` : visible(token.text)))}</code></div>`)}</pre></div>
    ${shown.length < all.length && html`<${Button} onClick=${() => setWhole(true)}>Show all ${all.length.toLocaleString("en")} lines</${Button}>`}
  </section>`;
}

/** @param {{name: string, hunks: Hunk[], left?: string, right?: string}} props */
export function Diff({ name, hunks, left = "before", right = "after" }) {
  const added = hunks.reduce((sum, hunk) => sum + hunk.lines.filter(([sign]) => sign === "+").length, 0);
  const removed = hunks.reduce((sum, hunk) => sum + hunk.lines.filter(([sign]) => sign === "-").length, 0);
  return html`<section class="code diff" aria-label=${`Differences of ${name}`}>
    <div class="bar"><span class="mono strong">${visible(name)}</span><span class="good-text">+${added}</span><span class="bad-text">−${removed}</span>
      <span class="faint">${visible(left)} → ${visible(right)}</span></div>
    ${hunks.length === 0 ? html`<${Empty} title="No differences" />` : html`<div class="code-scroll" tabindex="0" role="group" aria-label=${`Changed lines of ${name}`}>
      <table class="diff-lines"><tbody>${hunks.map((hunk, i) => html`<${Hunk} key=${i} hunk=${hunk} />`)}</tbody></table></div>`}
  </section>`;
}

function Hunk({ hunk }) {
  let left = hunk.left, right = hunk.right;
  const rows = hunk.lines.map(([sign, text], i) => {
    const numbers = [sign === "+" ? "" : left++, sign === "-" ? "" : right++];
    const other = sign === "-" ? partner(hunk.lines, i, "-", "+") : sign === "+" ? partner(hunk.lines, i, "+", "-") : null;
    return html`<tr key=${i} class=${cls(sign === "+" && "added", sign === "-" && "removed")}>
      <td class="number" data-number=${numbers[0]}></td><td class="number" data-number=${numbers[1]}></td>
      <td class="sign">${sign === " " ? "" : sign === "-" ? "−" : "+"}</td><td class="text"><code>${other === null ? visible(text) : within(text, other)}</code></td></tr>`;
  });
  return html`<tr class="hunk-head"><td colspan="4">${hunk.head ? visible(hunk.head) : `line ${hunk.right}`}</td></tr>${rows}`;
}

/** The line that one line became, where as many were removed as added. */
function partner(all, at, own, other) {
  let start = at;
  while (start > 0 && all[start - 1][0] === own) start -= 1;
  let end = at;
  while (end + 1 < all.length && all[end + 1][0] === own) end += 1;
  const count = end - start + 1;
  const from = own === "-" ? end + 1 : start - count;
  for (let i = from; i < from + count; i++) if (all[i]?.[0] !== other) return null;
  if (all[from + count]?.[0] === other || all[from - 1]?.[0] === other) return null;
  return all[from + at - start][1];
}

function within(text, other) {
  const { start, end } = changed(text, other);
  if (start + end === 0 || text.length - start - end > 0.7 * text.length) return visible(text);
  return html`${visible(text.slice(0, start))}<mark>${visible(text.slice(start, text.length - end))}</mark>${visible(text.slice(text.length - end))}`;
}
