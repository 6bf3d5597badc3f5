/** The binary chart format of /api/v1/chart as columns on one x, ready to draw. */

/** @typedef {import("./chartdata.js").ChartData} ChartData */
/** @typedef {import("./chartdata.js").Curve} Curve */
/** @typedef {import("./chartdata.js").Mark} Mark */

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
    if (!series.columns) return { key, line: NOTHING, points: 0, error: series.error?.detail ?? "cannot be read" };
    const own = isBucketed(series) ? grid : series.columns.x;
    const curve = isBucketed(series) ? bucketed(series, head, key, marks, grid) : pointed(series, key, marks);
    const spread = (column) => (isSorted || !column ? column : placed(own, column, x));
    const facts = "last_value" in series ? { last: number(series.last_value), min: number(series.min), max: number(series.max) } : {};
    const isWhole = series.shown === series.count;
    return /** @type {Curve} */ ({
      key, points: series.shown ?? series.runs ?? 0, isBand: series.mode === "band", ...(isWhole ? facts : {}),
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
