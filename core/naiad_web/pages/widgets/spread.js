/** Parallel coordinates and scatter: many runs at once, one line or one dot a run, on canvas. */
import { html, useEffect, useMemo, useRef, useState } from "../lib/html.js";
import { faded, resolved } from "../lib/color.js";
import { short, visible, whole } from "../lib/format.js";
import { Button, Empty, useSize } from "./controls.js";

/** @typedef {{id: string, label: string, color: string}} Item */
/** @typedef {{key: string, values: any[]}} Axis */

/** Numbers without a place on an axis, as the interface writes them. */
const BEYOND = new Set(["NaN", "Infinity", "-Infinity"]);

/** The values of an axis that have a place on it: one run whose loss is infinite must not make categories of all others. @param {any[]} values */
function placed(values) {
  const there = values.filter((v) => v !== null && v !== undefined && v !== "");
  const finite = there.filter((v) => !BEYOND.has(v));
  return finite.some((v) => typeof v === "number") ? finite : there;
}

/** Place of each value on an axis from 0 to 1: numbers by size, else categories in order. @param {any[]} values @param {boolean} [isLog] */
export function scaleOf(values, isLog = false) {
  const there = placed(values);
  const numbers = there.map(Number).filter(Number.isFinite);
  if (there.length && numbers.length === there.length && !there.some((v) => typeof v === "boolean")) {
    const positive = isLog && numbers.every((v) => v > 0);
    const f = positive ? Math.log10 : (v) => v;
    const low = Math.min(...numbers.map(f)), high = Math.max(...numbers.map(f));
    const at = (v) => (high === low ? 0.5 : (f(Number(v)) - low) / (high - low));
    const back = (share) => (positive ? 10 ** (low + share * (high - low)) : low + share * (high - low));
    const marks = high === low ? [[0.5, short(back(0.5))]] : ticks(low, high, positive).map((v) => [(v - low) / (high - low), short(positive ? 10 ** v : v)]);
    return { at: (v) => (v === null || v === undefined || v === "" || !Number.isFinite(Number(v)) ? null : at(v)), marks, isNumber: true };
  }
  const names = [...new Set(there.map(text))].sort();
  const at = new Map(names.map((name, i) => [name, names.length === 1 ? 0.5 : i / (names.length - 1)]));
  return { at: (v) => at.get(text(v)) ?? null, marks: names.slice(0, 40).map((name) => [at.get(name), visible(name)]), isNumber: false };
}

/** Round values between two ends, about five of them; of a log axis powers of ten. @param {number} low @param {number} high @param {boolean} isLog */
function ticks(low, high, isLog) {
  const raw = (high - low) / 5, size = 10 ** Math.floor(Math.log10(raw));
  const step = Math.max(isLog ? 1 : 0, [1, 2, 5, 10].map((n) => n * size).find((n) => n >= raw) ?? size);
  const found = [];
  for (let v = Math.ceil(low / step - 1e-9) * step; v <= high + step * 1e-9; v += step) found.push(Number(v.toPrecision(12)));
  return found.length >= 2 ? found : [low, high];
}

const text = (value) => (Array.isArray(value) ? value.join(", ") : String(value));

/** Whether an axis is better read on a log scale: positive, over two decades or more. @param {any[]} values */
export function wantsLog(values) {
  const numbers = placed(values).filter((v) => typeof v !== "boolean").map(Number);
  if (numbers.length < 3 || numbers.some((v) => !Number.isFinite(v) || v <= 0)) return false;
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[sorted.length - 1] / sorted[0] >= 100 && sorted[Math.floor(sorted.length / 2)] <= sorted[sorted.length - 1] / 5;
}

/** @param {{items: Item[], axes: Axis[], height?: number, highlighted?: string|null, onHighlight?: (id: string|null) => void,
 *   onOpen?: (id: string) => void, onMove?: (from: number, to: number) => void}} props */
export function Parallel({ items, axes, height = 380, highlighted, onHighlight, onOpen, onMove }) {
  const [box, { width: room }] = useSize();
  const width = room && Math.max(room, 60 + 96 * axes.length); // on a phone it scrolls
  const lasts = axes.map((axis) => axis.key.split("/").pop());
  const canvas = useRef(null);
  const [brushes, setBrushes] = useState(/** @type {Record<string, [number, number]>} */ ({}));
  const scales = useMemo(() => axes.map((axis) => scaleOf(axis.values, wantsLog(axis.values))), [axes]);
  const top = 14, bottom = height - 14;
  const left = 46, right = Math.max(left + 10, width - 60);
  const px = (i) => (axes.length < 2 ? (left + right) / 2 : left + (i / (axes.length - 1)) * (right - left));
  const py = (share) => bottom - share * (bottom - top);
  const isIn = (k) => axes.every((axis, i) => {
    const brush = brushes[axis.key];
    const at = scales[i].at(axis.values[k]);
    return !brush || (at !== null && at >= brush[0] && at <= brush[1]);
  });
  const kept = useMemo(() => items.map((_, k) => isIn(k)), [items, axes, brushes, scales]);

  useEffect(() => {
    const element = canvas.current;
    if (!element || width < 50) return;
    const ratio = devicePixelRatio || 1;
    element.width = width * ratio;
    element.height = height * ratio;
    const ctx = element.getContext("2d");
    ctx.scale(ratio, ratio);
    ctx.lineJoin = "round";
    const draw = (k, isStrong, isFaint) => {
      ctx.strokeStyle = faded(resolved(element.parentElement, items[k].color), isFaint ? 0.1 : isStrong ? 1 : items.length > 100 ? 0.35 : 0.7);
      ctx.lineWidth = isStrong ? 2.5 : 1.2;
      ctx.beginPath();
      let isOn = false;
      for (let i = 0; i < axes.length; i++) {
        const at = scales[i].at(axes[i].values[k]);
        if (at === null) {
          isOn = false;
          continue;
        }
        if (isOn) {
          const x0 = px(i - 1), x1 = px(i), y0 = py(scales[i - 1].at(axes[i - 1].values[k])), y1 = py(at), mid = (x0 + x1) / 2;
          ctx.bezierCurveTo(mid, y0, mid, y1, x1, y1);
        } else ctx.moveTo(px(i), py(at));
        isOn = true;
      }
      ctx.stroke();
    };
    items.forEach((_, k) => !kept[k] && draw(k, false, true));
    items.forEach((item, k) => kept[k] && item.id !== highlighted && draw(k, false, Boolean(highlighted)));
    items.forEach((item, k) => item.id === highlighted && draw(k, true, false));
  }, [items, axes, width, height, kept, highlighted]);

  const hover = (event) => {
    const rect = event.currentTarget.getBoundingClientRect();
    const x = event.clientX - rect.left, y = event.clientY - rect.top;
    let best = /** @type {string|null} */ (null), distance = 12;
    for (let k = 0; k < items.length; k++) {
      if (!kept[k]) continue;
      for (let i = 0; i + 1 < axes.length; i++) {
        if (x < px(i) || x > px(i + 1)) continue;
        const a = scales[i].at(axes[i].values[k]), b = scales[i + 1].at(axes[i + 1].values[k]);
        if (a === null || b === null) continue;
        const t = (x - px(i)) / (px(i + 1) - px(i)), s = t * t * (3 - 2 * t);
        const away = Math.abs(py(a) + s * (py(b) - py(a)) - y);
        if (away < distance) [best, distance] = [items[k].id, away];
      }
    }
    onHighlight?.(best);
  };
  const brush = (axis, event) => {
    const rect = event.currentTarget.getBoundingClientRect();
    const at = (e) => Math.max(0, Math.min(1, 1 - (e.clientY - rect.top - top) / (bottom - top)));
    const start = at(event);
    const element = event.currentTarget;
    element.setPointerCapture(event.pointerId);
    const moved = (e) => setBrushes((now) => ({ ...now, [axis.key]: [Math.min(start, at(e)), Math.max(start, at(e))] }));
    element.addEventListener("pointermove", moved);
    element.addEventListener("pointerup", (e) => {
      element.removeEventListener("pointermove", moved);
      if (Math.abs(at(e) - start) < 0.015) setBrushes(({ [axis.key]: _, ...rest }) => rest);
    }, { once: true });
  };
  if (!axes.length) return html`<${Empty} title="Choose at least two axes" />`;
  const count = kept.filter(Boolean).length;
  return html`<div class="parallel" ref=${box}>
    <div class="parallel-heads" style=${{ height: "38px" }}>${axes.map((axis, i) => html`<div key=${axis.key} style=${{ left: `${px(i)}px` }} class="parallel-head" title=${axis.key}>
      <span class="title">${visible(lasts.filter((name) => name === lasts[i]).length > 1 ? axis.key : lasts[i])}</span>
      ${onMove && html`<span class="parallel-move"><${Button} kind="quiet tiny" label=${`Move ${axis.key} left`} disabled=${i === 0} onClick=${() => onMove(i, i - 1)}>‹</${Button}>
        <${Button} kind="quiet tiny" label=${`Move ${axis.key} right`} disabled=${i === axes.length - 1} onClick=${() => onMove(i, i + 1)}>›</${Button}></span>`}
    </div>`)}</div>
    <div class="parallel-area" style=${{ height: `${height}px` }}>
      <canvas ref=${canvas} role="img" aria-label=${`${count} of ${items.length} runs over ${axes.map((axis) => axis.key).join(", ")}`} style=${{ width: `${width}px`, height: `${height}px` }}
        onMouseMove=${hover} onMouseLeave=${() => onHighlight?.(null)} onClick=${() => highlighted && onOpen?.(highlighted)}></canvas>
      ${axes.map((axis, i) => html`<div key=${axis.key} class="parallel-axis" style=${{ left: `${px(i) - 10}px`, height: `${height}px` }} onPointerDown=${(e) => brush(axis, e)}>
        <i style=${{ top: `${top}px`, height: `${bottom - top}px` }}></i>
        ${brushes[axis.key] && html`<b style=${{ top: `${py(brushes[axis.key][1])}px`, height: `${(brushes[axis.key][1] - brushes[axis.key][0]) * (bottom - top)}px` }}></b>`}
        ${scales[i].marks.map(([at, mark]) => html`<span key=${at} style=${{ top: `${py(at) - 7}px` }}>${mark}</span>`)}
      </div>`)}
    </div>
    <p class="faint">${count} of ${items.length} runs.${axes.some((axis) => axis.values.some((v) => BEYOND.has(v))) && " A line ends where a value is NaN or infinite."} Drag along an axis to keep a range; click it to keep all.
      ${Object.keys(brushes).length > 0 && html` <${Button} kind="quiet" onClick=${() => setBrushes({})}>Keep all</${Button}>`}</p>
  </div>`;
}

/** @param {{items: Item[], x: Axis, y: Axis, height?: number, logX?: boolean, logY?: boolean, highlighted?: string|null,
 *   onHighlight?: (id: string|null) => void, onOpen?: (id: string) => void}} props */
export function Scatter({ items, x, y, height = 380, logX = false, logY = false, highlighted, onHighlight, onOpen }) {
  const [box, { width }] = useSize();
  const xs = useMemo(() => scaleOf(x.values, logX), [x, logX]), ys = useMemo(() => scaleOf(y.values, logY), [y, logY]);
  const left = 76, right = Math.max(left + 10, width - 16), top = 12, bottom = height - 44;
  const px = (share) => left + (0.02 + share * 0.96) * (right - left), py = (share) => bottom - (0.03 + share * 0.94) * (bottom - top);
  const dots = items.map((item, k) => ({ item, k, a: xs.at(x.values[k]), b: ys.at(y.values[k]) })).filter((dot) => dot.a !== null && dot.b !== null);
  const at = dots.find((dot) => dot.item.id === highlighted);
  return html`<div class="scatter" ref=${box}>
    <svg width=${Math.max(0, width)} height=${height} role="img" aria-label=${`${y.key} over ${x.key}: ${dots.length} runs`}>
      ${ys.marks.map(([share, mark]) => html`<g key=${`y${share}`}><line x1=${left} x2=${right} y1=${py(share)} y2=${py(share)} class="grid-line" /><text x=${left - 6} y=${py(share) + 4} text-anchor="end">${mark}</text></g>`)}
      ${xs.marks.map(([share, mark]) => html`<text key=${`x${share}`} x=${px(share)} y=${bottom + 18} text-anchor="middle">${mark}</text>`)}
      <text x=${(left + right) / 2} y=${height - 6} text-anchor="middle" class="axis-name">${visible(x.key)}</text>
      <text x="12" y=${(top + bottom) / 2} text-anchor="middle" transform=${`rotate(-90 12 ${(top + bottom) / 2})`} class="axis-name">${visible(y.key)}</text>
      ${dots.map(({ item, a, b }) => html`<circle key=${item.id} cx=${px(a)} cy=${py(b)} r=${item.id === highlighted ? 7 : 4.5} fill=${"currentColor"} style=${{ color: item.color }}
        opacity=${highlighted && item.id !== highlighted ? 0.35 : 0.9} onMouseEnter=${() => onHighlight?.(item.id)} onMouseLeave=${() => onHighlight?.(null)} onClick=${() => onOpen?.(item.id)} />`)}
    </svg>
    ${at && html`<div class="hover-table" style=${{ left: `${Math.min(px(at.a ?? 0) + 12, width - 220)}px`, top: `${Math.max(0, py(at.b ?? 0) - 40)}px` }} aria-hidden="true">
      <strong>${visible(at.item.label)}</strong><div>${visible(x.key)}: ${whole(x.values[at.k])}</div><div>${visible(y.key)}: ${whole(y.values[at.k])}</div></div>`}
    <p class="faint">Runs with both values: ${dots.length} of ${items.length}.${items.some((_, k) => BEYOND.has(x.values[k]) || BEYOND.has(y.values[k])) && " NaN and infinite values have no place."}</p>
  </div>`;
}
