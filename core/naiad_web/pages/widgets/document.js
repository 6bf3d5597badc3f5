/** Documents as nodes: JSON as a tree, Markdown by an allow-list, tables and notebooks. Nothing in them becomes markup. */
import { html, h } from "../lib/html.js";
import { visible } from "../lib/format.js";

const MANY = 200;

/** @param {{value: any, name?: string, depth?: number}} props */
export function Json({ value, name, depth = 0 }) {
  const label = name === undefined ? "" : html`<span class="tok-name">${visible(name)}</span>: `;
  if (value !== null && typeof value === "object") {
    const entries = Array.isArray(value) ? value.map((item, i) => [String(i), item]) : Object.entries(value);
    const brackets = Array.isArray(value) ? "[]" : "{}";
    if (!entries.length) return html`<div>${label}${brackets}</div>`;
    return html`<div class=${depth ? undefined : "json"}><details open=${depth < 2 && entries.length < 60}><summary>${label}<span class="faint">${brackets[0]}${entries.length}${brackets[1]}</span></summary>
      ${entries.slice(0, MANY).map(([key, item]) => html`<${Json} key=${key} name=${key} value=${item} depth=${depth + 1} />`)}
      ${entries.length > MANY && html`<div class="faint">${(entries.length - MANY).toLocaleString("en")} more</div>`}</details></div>`;
  }
  const kind = typeof value === "string" ? "string" : typeof value === "number" ? "number" : "keyword";
  return html`<div class=${depth ? undefined : "json"}>${label}<span class=${`tok-${kind}`}>${typeof value === "string" ? visible(JSON.stringify(value)) : String(value)}</span></div>`;
}

/** @param {{columns: string[], rows: any[][], total?: number|null, cut?: boolean}} props */
export const Sheet = ({ columns, rows, total, cut }) => html`<div class="sheet" tabindex="0" role="group" aria-label="Table"><table class="plain">
  <thead><tr>${columns.map((name, i) => html`<th key=${i} scope="col" class=${isNumber(rows[0]?.[i]) ? "end" : undefined}>${visible(name) || html`<span class="spoken">unnamed</span>`}</th>`)}</tr></thead>
  <tbody>${rows.map((row, i) => html`<tr key=${i}>${row.map((cell, k) => html`<td key=${k} class=${isNumber(cell) ? "end" : undefined} title=${String(cell ?? "").length > 40 ? visible(cell) : undefined}>${cell === null ? "" : visible(cell)}</td>`)}</tr>`)}</tbody></table>
  ${cut !== false && html`<p class="faint">${rows.length.toLocaleString("en")} rows shown${total ? ` of ${total.toLocaleString("en")}` : ""}.</p>`}</div>`;

const isNumber = (cell) => typeof cell === "number" || (typeof cell === "string" && cell.trim() !== "" && Number.isFinite(Number(cell)));

const INLINE = /`([^`]+)`|\*\*([^*]+)\*\*|__([^_]+)__|\*([^*\s][^*]*)\*|!?\[([^\]]*)\]\(([^()\s]*(?:\([^()\s]*\)[^()\s]*)*)[^()]*\)/g;

/** Inline marks of Markdown as nodes; a link keeps its text, and its address only if that is http, https or mail. @param {string} text */
function inline(text) {
  const found = [];
  let at = 0;
  for (const match of text.matchAll(INLINE)) {
    found.push(visible(text.slice(at, match.index)));
    const [whole, code, bold, bold2, italic, label, to] = match;
    if (code !== undefined) found.push(h("code", null, visible(code)));
    else if (bold ?? bold2) found.push(h("strong", null, inline(bold ?? bold2)));
    else if (italic !== undefined) found.push(h("em", null, inline(italic)));
    else if (whole.startsWith("!")) found.push(h("span", { class: "faint" }, `[image: ${visible(label)}]`));
    else if (/^(https?:|mailto:)/i.test(to)) found.push(h("a", { href: to, rel: "noreferrer noopener", target: "_blank" }, visible(label)));
    else found.push(visible(label));
    at = /** @type {number} */ (match.index) + whole.length;
  }
  found.push(visible(text.slice(at)));
  return found;
}

/** @param {{text: string}} props */
export function Markdown({ text }) {
  const blocks = [];
  const lines = text.split(/\r?\n/);
  for (let i = 0; i < lines.length; i++) {
    const line = lines[i];
    const head = /^(#{1,6})\s+(.*)$/.exec(line);
    if (/^\s*(```|~~~)/.test(line)) {
      const fence = line.trim().slice(0, 3);
      const body = [];
      for (i += 1; i < lines.length && !lines[i].trim().startsWith(fence); i++) body.push(lines[i]);
      blocks.push(h("pre", null, visible(body.join("\n"))));
    } else if (head) blocks.push(h(`h${Math.min(6, head[1].length + 2)}`, null, inline(head[2])));
    else if (/^\s*([-*+]|\d+[.)])\s+/.test(line)) {
      const isOrdered = /^\s*\d/.test(line);
      const items = [];
      for (; i < lines.length && /^\s*([-*+]|\d+[.)])\s+/.test(lines[i]); i++) items.push(h("li", null, inline(lines[i].replace(/^\s*([-*+]|\d+[.)])\s+/, ""))));
      i -= 1;
      blocks.push(h(isOrdered ? "ol" : "ul", null, items));
    } else if (/^\s*\|.*\|\s*$/.test(line)) {
      const rows = [];
      for (; i < lines.length && /^\s*\|.*\|\s*$/.test(lines[i]); i++) {
        if (!/^[\s|:-]+$/.test(lines[i])) rows.push(lines[i].trim().slice(1, -1).split("|").map((cell) => cell.trim()));
      }
      i -= 1;
      blocks.push(html`<${Sheet} columns=${rows[0] ?? []} rows=${rows.slice(1)} cut=${false} />`);
    } else if (/^\s*(-{3,}|\*{3,})\s*$/.test(line)) blocks.push(h("hr", null));
    else if (line.trim()) {
      const body = [line];
      while (i + 1 < lines.length && lines[i + 1].trim() && !/^\s*(#|```|~~~|[-*+]\s|\d+[.)]\s|\|)/.test(lines[i + 1])) body.push(lines[++i]);
      blocks.push(h("p", null, inline(body.join(" ").replace(/^>\s?/, ""))));
    }
  }
  return html`<div class="markdown">${blocks}</div>`;
}

/** Cells of a notebook: sources and outputs as text, images as images. @param {{cells: any[]}} props */
export const Notebook = ({ cells }) => html`<div class="markdown">${cells.map((cell, i) => html`<div key=${i}>
  ${cell.type === "markdown" ? html`<${Markdown} text=${cell.source} />` : html`<pre>${visible(cell.source)}</pre>`}
  ${(cell.outputs ?? []).map((output, k) => html`<div key=${k}>${output.image && /^data:image\/(png|jpeg|gif|webp);/.test(output.image) && html`<img class="media" src=${output.image} alt=${`Output ${k + 1} of cell ${i + 1}`} />`}
    ${output.text && html`<pre class="faint">${visible(output.text)}</pre>`}</div>`)}
</div>`)}</div>`;
