/** Chart data from the wire to the canvas: the binary format of /api/v1/chart, curves on one x, clipping, summaries and exports. */
import { short, whole } from "./format.js";


const TYPES = { f8: Float64Array, f4: Float32Array, u1: Uint8Array };
const NOTHING = new Float64Array(0);

/** Read an answer: its head, and each column as a typed array over the buffer, where it lies.
 * @param {ArrayBuffer} buffer @returns {any} the head, with arrays in the places of columns */
export function read(buffer) {
  const view = new DataView(buffer);
  if (view.getUint32(0, false) !== 0x4e434831) throw new Error("The answer is not in the chart format.");
  const length = view.getUint32(4, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
  for (const series of head.series) {
    for (const [name, column] of Object.entries(series.columns ?? {})) {
      const [at, type, count] = /** @type {[number, "f8"|"f4"|"u1", number]} */ (column);
      series.columns[name] = new TYPES[type](buffer, 8 + length + at, count);
      series.columns[name].at = at;
    }
  }
  return head;
}

/** The curves of an answer on one ascending x. `keyOf` names a curve.
 * @param {any} head @param {(series: any) => string} [keyOf] @returns {ChartData} */
export function curves(head, keyOf = (series) => series.group ?? series.uid) {
  const width = (head.to - head.from) / head.buckets;
  const readable = head.series.filter((series) => series.columns);
  const isBucketed = (series) => series.mode !== "points" && !series.columns.x;
  const grid = readable.some(isBucketed) ? samples(head.from, width, head.buckets) : null;
  const xs = [];
  const seen = new Set();
  for (const series of readable) {
    const x = isBucketed(series) ? grid : series.columns.x;
    const mark = isBucketed(series) ? "grid" : x.at ?? x;
    if (!seen.has(mark)) {
      seen.add(mark);
      xs.push(x);
    }
  }
  const isSorted = xs.length === 1 && isStrict(xs[0]);
  const x = isSorted ? xs[0] : union(xs);
  /** @type {Mark[]} */
  const marks = [];
  const found = head.series.map((series) => {
    const key = keyOf(series);
    // A group whose runs have no such series is empty, and not a failure.
    const error = series.mode === "band" ? series.errors?.[0]?.detail : series.columns ? undefined : series.error?.detail ?? "cannot be read";
    if (!series.columns) return { key, line: NOTHING, points: 0, error };
    const own = isBucketed(series) ? grid : series.columns.x;
    const curve = isBucketed(series) ? bucketed(series, head, key, marks, grid) : pointed(series, key, marks);
    const spread = (column) => (isSorted || !column ? column : placed(own, column, x));
    const facts = "last_value" in series ? { last: number(series.last_value), min: number(series.min), max: number(series.max) } : {};
    const isWhole = series.shown === series.count;
    return /** @type {Curve} */ ({
      key, error, points: series.shown ?? series.runs ?? 0, isBand: series.mode === "band", ...(isWhole ? facts : {}),
      line: spread(curve.line), low: spread(curve.low), high: spread(curve.high),
    });
  });
  return {
    x: x ?? NOTHING, curves: found, marks,
    buckets: head.buckets, points: found.reduce((sum, curve) => sum + curve.points, 0),
    isRaw: !readable.some(isBucketed), smoothing: head.smooth || undefined, isBand: readable.some((series) => series.mode === "band"),
  };
}

/** @param {any} value */
const number = (value) => (value === null || value === undefined ? undefined : Number(value));

/** Where the two samples of each bucket are drawn. */
function samples(from, width, buckets) {
  const x = new Float64Array(2 * buckets);
  for (let i = 0; i < buckets; i++) {
    x[2 * i] = from + (i + 0.25) * width;
    x[2 * i + 1] = from + (i + 0.75) * width;
  }
  return x;
}

function scaled(series, column) {
  const { base = 0, scale = 1 } = series;
  if (base === 0 && scale === 1) return column;
  return Float64Array.from(column, (y) => base + scale * y);
}

function bucketed(series, head, key, marks, grid) {
  const c = series.columns;
  const count = head.buckets;
  const low = new Float64Array(2 * count).fill(NaN), high = new Float64Array(2 * count).fill(NaN), line = new Float64Array(2 * count).fill(NaN);
  const least = scaled(series, c.min ?? c.low), most = scaled(series, c.max ?? c.high), smooth = c.smooth && scaled(series, c.smooth);
  const mean = c.mean && scaled(series, c.mean);
  const isBand = series.mode === "band";
  for (let i = 0; i < count; i++) {
    const flags = c.flags ? c.flags[i] : 0;
    const center = grid[2 * i];
    if (flags & 2) marks.push({ key, x: center, sign: "nan" });
    if (flags & 4) marks.push({ key, x: center, sign: "+inf" });
    if (flags & 8) marks.push({ key, x: center, sign: "-inf" });
    if (least[i] !== least[i]) continue;
    low[2 * i] = low[2 * i + 1] = least[i];
    high[2 * i] = high[2 * i + 1] = most[i];
    if (isBand) line[2 * i] = mean[i];
    else if (smooth) line[2 * i] = smooth[i];
    else if (least[i] === most[i]) line[2 * i] = least[i];
    else [line[2 * i], line[2 * i + 1]] = flags & 1 ? [least[i], most[i]] : [most[i], least[i]];
  }
  return smooth || isBand ? { line, low, high } : { line };
}

function pointed(series, key, marks) {
  const c = series.columns;
  if (series.mode === "band") return { line: scaled(series, c.mean), low: scaled(series, c.low), high: scaled(series, c.high) };
  const y = scaled(series, c.y);
  for (let i = 0; i < y.length; i++) {
    if (Number.isFinite(y[i])) continue;
    marks.push({ key, x: c.x[i], sign: y[i] !== y[i] ? "nan" : y[i] > 0 ? "+inf" : "-inf" });
  }
  const finite = Array.prototype.some.call(y, (v) => v === Infinity || v === -Infinity) ? Float64Array.from(y, (v) => (Number.isFinite(v) ? v : NaN)) : y;
  return c.smooth ? { line: scaled(series, c.smooth), low: finite, high: finite } : { line: finite };
}

function isStrict(x) {
  for (let i = 1; i < x.length; i++) if (!(x[i] > x[i - 1])) return false;
  return true;
}

/** All x of several columns, ascending; an x that a column repeats is there as often as that column has it. */
function union(columns) {
  const most = new Map();
  for (const column of columns) {
    let run = 0;
    for (let i = 0; i < column.length; i++) {
      run = i > 0 && column[i] === column[i - 1] ? run + 1 : 1;
      if (run > (most.get(column[i]) ?? 0)) most.set(column[i], run);
    }
  }
  const distinct = Float64Array.from(most.keys()).sort();
  if (distinct.length === 0) return NOTHING;
  let size = 0;
  for (const n of most.values()) size += n;
  if (size === distinct.length) return distinct;
  const all = new Float64Array(size);
  let at = 0;
  for (const x of distinct) for (let n = most.get(x); n > 0; n--) all[at++] = x;
  return all;
}

/** A column moved from its own x to all x. */
function placed(own, column, x) {
  const out = new Float64Array(x.length).fill(NaN);
  let at = 0;
  for (let i = 0; i < own.length; i++) {
    while (at < x.length && x[at] < own[i]) at += 1;
    if (x[at] === own[i]) out[at++] = column[i];
  }
  return out;
}

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
  if (data.isRaw) return `${points} ${noun}${data.points === 1 ? "" : ", each drawn"}${smooth}.`;
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
