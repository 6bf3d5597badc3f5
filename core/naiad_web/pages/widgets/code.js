/** Source text with line numbers and colours, and differences of texts with the changed words marked. */
import { html, cls, useMemo, useState } from "../lib/html.js";
import { lines, language, changed } from "../lib/code.js";
import { counted, visible } from "../lib/format.js";
import { Button, Copy, Empty } from "./controls.js";

const FIRST = 2000;

/** @param {{text: string, name: string, downloadUrl?: string}} props */
export function Code({ text, name, downloadUrl }) {
  const [isWhole, setWhole] = useState(false);
  const all = useMemo(() => lines(text.replace(/\n$/, ""), language(name)), [text, name]);
  const shown = isWhole ? all : all.slice(0, FIRST);
  return html`<section class="code" aria-label=${name}>
    <div class="bar"><span class="mono strong">${visible(name)}</span><span class="faint">${counted(all.length, "line")}</span><span class="grow"></span>
      <${Copy} text=${() => text} label=${`Copy ${name}`} />
      ${downloadUrl && html`<a class="button quiet" href=${downloadUrl} download>Download</a>`}</div>
    <div class="code-scroll" tabindex="0" role="group" aria-label=${`Text of ${name}`}><pre class="code-lines">${shown.map((tokens, i) => html`<div key=${i} class="code-line"><span
      class="number" data-number=${i + 1}></span><code>${tokens.map((token, k) => (token.kind
        ? html`<span key=${k} class=${`tok-${token.kind}`}>${visible(token.text)}</span>` : visible(token.text)))}</code></div>`)}</pre></div>
    ${shown.length < all.length && html`<${Button} onClick=${() => setWhole(true)}>Show all ${all.length.toLocaleString("en")} lines</${Button}>`}
  </section>`;
}

/** @param {{name: string, hunks: import("../lib/code.js").Hunk[], left?: string, right?: string}} props */
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
