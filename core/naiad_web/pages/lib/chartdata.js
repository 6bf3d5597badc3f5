/** Chart data between the wire and the canvas: groups, clipping, summaries and exports. Pure functions on columns. */
import { short, whole } from "./format.js";

/**
 * One response for one chart: every series on one ascending x. NaN in a column means "no value here".
 * `line` is drawn strongly; `low` and `high` are the envelope of the raw points, drawn faintly when the line does not
 * already reach it. `marks` are the points that no line can show.
 * @typedef {{key: string, line: ArrayLike<number>, low?: ArrayLike<number>, high?: ArrayLike<number>, points: number,
 *   last?: number, min?: number, max?: number, error?: string, isBand?: boolean}} Curve
 * @typedef {{key: string, x: number, sign: "nan"|"+inf"|"-inf"}} Mark
 * @typedef {{x: ArrayLike<number>, curves: Curve[], marks: Mark[], buckets: number, points: number, isRaw: boolean,
 *   smoothing?: number, isBand?: boolean}} ChartData
 */

/** The sentence that says what is drawn. @param {ChartData} data */
export function sentence(data) {
  const points = data.points.toLocaleString("en");
  const noun = data.points === 1 ? "point" : "points";
  const smooth = data.smoothing ? "; the line is smoothed from the raw points, the shade reaches their minimum and maximum" : "";
  if (data.isBand) return `${points} ${data.points === 1 ? "run" : "runs"} in groups: the line is their mean, the shade reaches from the least to the greatest.`;
  if (data.isRaw) return `${points} ${noun}, each drawn${smooth}.`;
  return `${points} ${noun} shown as minimum and maximum of ${data.buckets.toLocaleString("en")} buckets${smooth}.`;
}

/** What a screen reader says of a chart. @param {string} title @param {ChartData} data @param {Map<string, string>} names */
export function spoken(title, data, names) {
  const parts = data.curves.slice(0, 8).map((curve) => {
    const { last, min, max } = extremes(curve);
    return `${names.get(curve.key) ?? curve.key}: last ${short(last)}, minimum ${short(min)}, maximum ${short(max)}`;
  });
  const rest = data.curves.length > 8 ? `, and ${data.curves.length - 8} more` : "";
  return `${title}. ${data.curves.length === 1 ? "1 curve" : `${data.curves.length} curves`}. ${parts.join("; ")}${rest}.`;
}

/** Last, least and greatest value that is drawn; the stored ones where the response has them. @param {Curve} curve */
export function extremes(curve) {
  let min = Infinity, max = -Infinity, last = NaN;
  const low = curve.low ?? curve.line, high = curve.high ?? curve.line;
  for (let i = 0; i < curve.line.length; i++) {
    if (low[i] < min) min = low[i];
    if (high[i] > max) max = high[i];
    if (curve.line[i] === curve.line[i]) last = curve.line[i];
  }
  if (min > max) min = max = NaN;
  return { last: curve.last ?? last, min: curve.min ?? min, max: curve.max ?? max };
}

/** Exponential moving average of values, bias-corrected; weight 0 changes nothing. Gaps stay gaps.
 * @param {ArrayLike<number>} values @param {number} weight from 0 to below 1 */
export function smoothed(values, weight) {
  const out = new Float64Array(values.length).fill(NaN);
  let mean = 0, seen = 0;
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (!Number.isFinite(value)) continue;
    seen += 1;
    mean = weight * mean + (1 - weight) * value;
    out[i] = mean / (1 - weight ** seen);
  }
  return out;
}

/** Range of y that leaves outliers out: the 1st to the 99th percentile, a little widened; how many lie beyond.
 * @param {ChartData} data @returns {{range: [number, number], beyond: number} | null} */
export function clipped(data) {
  const values = [];
  for (const curve of data.curves) {
    for (const column of curve.low && curve.high && curve.low !== curve.high ? [curve.low, curve.high] : [curve.low ?? curve.line]) {
      for (let i = 0; i < column.length; i++) if (Number.isFinite(column[i])) values.push(column[i]);
    }
  }
  if (values.length < 20) return null;
  values.sort((a, b) => a - b);
  const at = (share) => values[Math.round(share * (values.length - 1))];
  const room = (at(0.99) - at(0.01)) * 0.08 || 1;
  const range = /** @type {[number, number]} */ ([at(0.01) - room, at(0.99) + room]);
  if (values[0] >= range[0] && values[values.length - 1] <= range[1]) return null;
  return { range, beyond: values.filter((value) => value < range[0] || value > range[1]).length };
}

/** What is drawn, as CSV: one row for each x. A text cell that a spreadsheet would compute is guarded.
 * @param {ChartData} data @param {string} xName @param {Map<string, string>} names */
export function csv(data, xName, names) {
  const head = [xName, ...data.curves.map((curve) => names.get(curve.key) ?? curve.key)].map(cell).join(",");
  const lines = [head];
  for (let i = 0; i < data.x.length; i++) {
    const values = data.curves.map((curve) => (curve.line[i] === curve.line[i] ? whole(curve.line[i]) : ""));
    if (values.some(Boolean)) lines.push([whole(data.x[i]), ...values].join(","));
  }
  return lines.join("\n") + "\n";
}

/** One cell of CSV. @param {unknown} value */
export function cell(value) {
  let text = value === null || value === undefined ? "" : String(value);
  if (typeof value === "string" && /^[=+\-@\t\r]/.test(text) && !Number.isFinite(Number(text))) text = `'${text}`;
  return /[",\n\r]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
}

/** What is drawn, as an SVG file. @param {ChartData} data
 * @param {{title: string, width: number, height: number, range: {x: [number, number], y: [number, number]}, logX: boolean, logY: boolean,
 *   ticks: {x: [number, string][], y: [number, string][]}, paint: {key: string, label: string, stroke: string, fill: string, dash: number[]}[],
 *   ink: string, line: string, back: string}} look */
export function svg(data, look) {
  const { width, height } = look;
  const box = { left: 56, top: 30, right: width - 12, bottom: height - 28 - 16 * Math.min(6, look.paint.length) };
  const scaled = (value, [low, high], isLog) => (isLog
    ? (Math.log(value) - Math.log(low)) / (Math.log(high) - Math.log(low)) : (value - low) / (high - low));
  const px = (value) => round(box.left + scaled(value, look.range.x, look.logX) * (box.right - box.left));
  const py = (value) => round(box.bottom - scaled(value, look.range.y, look.logY) * (box.bottom - box.top));
  const parts = [`<rect width="${width}" height="${height}" fill="${look.back}"/>`,
    `<text x="${box.left}" y="18" font-weight="600" fill="${look.ink}">${escaped(look.title)}</text>`];
  for (const [at, text] of look.ticks.y) {
    parts.push(`<path d="M${box.left} ${py(at)}H${box.right}" stroke="${look.line}"/>`,
      `<text x="${box.left - 6}" y="${py(at) + 4}" text-anchor="end" fill="${look.ink}">${escaped(text)}</text>`);
  }
  for (const [at, text] of look.ticks.x) {
    parts.push(`<text x="${px(at)}" y="${box.bottom + 16}" text-anchor="middle" fill="${look.ink}">${escaped(text)}</text>`);
  }
  parts.push(`<clipPath id="c"><rect x="${box.left}" y="${box.top}" width="${box.right - box.left}" height="${box.bottom - box.top}"/></clipPath>`,
    `<g clip-path="url(#c)" fill="none" stroke-linejoin="round">`);
  for (const curve of data.curves) {
    const paint = look.paint.find((item) => item.key === curve.key);
    if (!paint) continue;
    if (curve.low && curve.high) {
      const { low, high } = curve;
      const there = indices(low);
      const edge = [...there.map((i) => `${px(data.x[i])} ${py(high[i])}`), ...there.reverse().map((i) => `${px(data.x[i])} ${py(low[i])}`)];
      if (edge.length) parts.push(`<path d="M${edge.join("L")}Z" fill="${paint.fill}"/>`);
    }
    const points = indices(curve.line).map((i) => `${px(data.x[i])} ${py(curve.line[i])}`);
    const dash = paint.dash.length ? ` stroke-dasharray="${paint.dash.join(" ")}"` : "";
    if (points.length) parts.push(`<path d="M${points.join("L")}" stroke="${paint.stroke}" stroke-width="1.5"${dash}/>`);
  }
  parts.push("</g>");
  for (const [i, paint] of look.paint.slice(0, 6).entries()) {
    const y = box.bottom + 34 + 16 * i;
    parts.push(`<path d="M${box.left} ${y - 4}h18" stroke="${paint.stroke}" stroke-width="2"/>`,
      `<text x="${box.left + 24}" y="${y}" fill="${look.ink}">${escaped(paint.label)}</text>`);
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" ` +
    `font-family="sans-serif" font-size="11">${parts.join("")}</svg>\n`;
}

/** @param {ArrayLike<number>} column */
function indices(column) {
  const found = [];
  for (let i = 0; i < column.length; i++) if (Number.isFinite(column[i])) found.push(i);
  return found;
}

const round = (value) => Math.round(value * 100) / 100;
const escaped = (text) => String(text).replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c] ?? c)
  .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, "");
