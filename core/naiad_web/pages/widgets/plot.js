/** A plot of curves on a canvas: all that the pages ask of the chart library, which no other module names. */
import uPlot from "../vendor/uplot.js";
import { faded, resolved } from "../lib/color.js";
import { duration, short } from "../lib/format.js";

/** @typedef {import("../lib/chartdata.js").ChartData} ChartData */
/** @typedef {{key: string, label: string, color: string, dash?: number[]}} Paint */
/** @typedef {{xKind: string, logX: boolean, logY: boolean, sync: string, zoom: [number, number]|null, yRange: [number, number]|null,
 *   width: number, height: number, axes: boolean}} Look */
/** @typedef {{onZoom?: (range: [number, number]|null) => void, onHover?: (at: Hover|null) => void}} Events */
/** @typedef {{x: number, index: number, left: number, top: number, key: string|null, values: {key: string, value: number, x: number, low?: number, high?: number}[], isOwn: boolean}} Hover */

/** Distances of ticks on an axis of steps, which are whole. */
const STEPS = Array.from({ length: 45 }, (_, i) => [1, 2, 5][i % 3] * 10 ** Math.floor(i / 3));

/** Labels of a time axis by the distance of its ticks in milliseconds, written as all other times of the pages: the
 * library's own are American. The second line names the year or the day where it begins. */
const [YEAR, DAY] = ["\n{YYYY}", "\n{YYYY}-{MM}-{DD}"];
const TIMES = [
  [31_536_000_000, "{YYYY}", null, null, null, null, null, null, 1],
  [2_419_200_000, "{MMM}", YEAR, null, null, null, null, null, 1],
  [86_400_000, "{MM}-{DD}", YEAR, null, null, null, null, null, 1],
  [60_000, "{HH}:{mm}", DAY, null, DAY, null, null, null, 1],
  [1_000, "{HH}:{mm}:{ss}", DAY, null, DAY, null, null, null, 1],
  [1, ":{ss}.{fff}", `${DAY} {HH}:{mm}`, null, `${DAY} {HH}:{mm}`, null, "\n{HH}:{mm}", null, 1],
];

/** Counters for tests, filled when the page's URL asks for it. */
const stats = () => /** @type {any} */ (globalThis).__naiad;

export class Plot {
  /** @param {HTMLElement} root @param {ChartData} data @param {Paint[]} paint @param {Look} look @param {Events} events */
  constructor(root, data, paint, look, events) {
    this.root = root;
    this.events = events;
    this.look = look;
    this.paint = paint;
    this.data = data;
    this.highlighted = null;
    this.plot = null;
    this._build();
  }

  /** Show other data, keeping the plot where its curves and axes are the same. @param {ChartData} data @param {Paint[]} paint @param {Look} look */
  update(data, paint, look) {
    const same = shape(this.data, this.paint, this.look) === shape(data, paint, look);
    this.data = data;
    this.paint = paint;
    const before = this.look;
    this.look = look;
    if (!same || !this.plot) return this._build();
    if (before.width !== look.width || before.height !== look.height) this.plot.setSize({ width: look.width, height: look.height });
    this.plot.batch(() => this.plot.setData(this._columns(), true));
    return undefined;
  }

  /** Draw one curve strongly and the others faintly; null ends it. @param {string|null} key */
  highlight(key) {
    if (!this.plot || this.highlighted === key) return;
    this.highlighted = key;
    this.plot.redraw(false, false);
  }

  /** Move the cursor to an x, as a click in a log does. @param {number|null} x */
  point(x) {
    if (!this.plot) return;
    const left = x === null ? -10 : this.plot.valToPos(x, "x");
    this.plot.setCursor({ left, top: x === null ? -10 : this.plot.bbox.height / (2 * devicePixelRatio) }, false);
  }

  destroy() {
    this.plot?.destroy();
    this.plot = null;
  }

  /** Ticks as drawn, for exports. */
  ticks() {
    const plot = this.plot;
    const of = (axis) => {
      const splits = axis._splits ?? [];
      const texts = axis._values ?? [];
      return splits.map((at, i) => [at, String(texts[i] ?? "")]).filter(([at, text]) => at !== null && text !== "");
    };
    return { x: of(plot.axes[0]), y: of(plot.axes[1]) };
  }

  range() {
    const { x, y } = this.plot.scales;
    return { x: [x.min, x.max], y: [y.min, y.max] };
  }

  /** The picture with a title and a legend, as PNG. @param {string} title @returns {Promise<Blob>} */
  png(title) {
    const canvas = this.plot.ctx.canvas;
    const ratio = devicePixelRatio || 1;
    const names = this.paint.slice(0, 12);
    const head = 28 * ratio, foot = Math.ceil(names.length / 3) * 16 * ratio + 8 * ratio;
    const out = document.createElement("canvas");
    out.width = canvas.width;
    out.height = canvas.height + head + foot;
    const ctx = /** @type {CanvasRenderingContext2D} */ (out.getContext("2d"));
    ctx.fillStyle = resolved(this.root, "var(--surface)");
    ctx.fillRect(0, 0, out.width, out.height);
    ctx.drawImage(canvas, 0, head);
    ctx.fillStyle = resolved(this.root, "var(--ink)");
    ctx.font = `600 ${13 * ratio}px sans-serif`;
    ctx.fillText(title, 10 * ratio, 18 * ratio);
    ctx.font = `${11 * ratio}px sans-serif`;
    for (const [i, paint] of names.entries()) {
      const x = 10 * ratio + (i % 3) * (out.width / 3), y = head + canvas.height + 14 * ratio + Math.floor(i / 3) * 16 * ratio;
      ctx.fillStyle = resolved(this.root, paint.color);
      ctx.fillRect(x, y - 5 * ratio, 14 * ratio, 2 * ratio);
      ctx.fillStyle = resolved(this.root, "var(--ink)");
      ctx.fillText(paint.label, x + 20 * ratio, y);
    }
    return new Promise((resolve) => out.toBlob((blob) => resolve(/** @type {Blob} */ (blob)), "image/png"));
  }

  _columns() {
    const { logX, logY } = this.look;
    const nans = new Map();
    for (const mark of this.data.marks) {
      if (!nans.has(mark.key)) nans.set(mark.key, new Set());
      nans.get(mark.key).add(mark.x);
    }
    const source = this.data.x;
    const keep = [];
    for (let i = 0; i < source.length; i++) if (!logX || source[i] > 0) keep.push(i);
    const x = keep.map((i) => source[i]);
    /** @type {any[][]} */
    const columns = [x];
    const by = new Map(this.data.curves.map((curve) => [curve.key, curve]));
    for (const paint of this.paint) {
      const curve = by.get(paint.key);
      const broken = nans.get(paint.key);
      for (const column of curve?.low ? [curve.low, curve.high, curve.line] : [curve?.line]) {
        columns.push(keep.map((i) => {
          const value = column?.[i];
          if (value === undefined || value !== value) return broken?.has(source[i]) ? null : undefined;
          return (logY && value <= 0) || !Number.isFinite(value) ? null : value;
        }));
      }
    }
    return columns;
  }

  _build() {
    const had = this.plot;
    const { root, look } = this;
    const ink = resolved(root, "var(--ink-3)"), line = resolved(root, "var(--line)");
    const font = `11px ${getComputedStyle(root).fontFamily}`;
    const by = new Map(this.data.curves.map((curve) => [curve.key, curve]));
    /** @type {any[]} */
    const series = [{}];
    const bands = [];
    this.columnOf = new Map();
    const many = this.paint.length > 12;
    for (const paint of this.paint) {
      const stroke = resolved(root, paint.color);
      const weight = () => (this.highlighted && this.highlighted !== paint.key ? 0.16 : many && !this.highlighted ? 0.75 : 1);
      if (by.get(paint.key)?.low) {
        const at = series.length;
        const edge = () => faded(stroke, 0.4 * weight()); // a spike stays seen where the shade is one pixel wide
        series.push({ show: true, stroke: edge, width: many ? 0.5 : 1, points: { show: false } }, { show: true, stroke: edge, width: many ? 0.5 : 1, points: { show: false } });
        bands.push({ series: [at + 1, at], fill: () => faded(stroke, 0.2 * weight()) });
      }
      this.columnOf.set(paint.key, series.length);
      series.push({
        label: paint.label,
        stroke: () => faded(stroke, weight()),
        width: many ? 1 : 1.5,
        dash: paint.dash?.length ? paint.dash : undefined,
        points: { show: (_u, _s, from, to) => to - from < 40, size: 4, fill: stroke },
      });
    }
    const zoomed = () => this.look.zoom;
    const options = {
      width: look.width,
      height: look.height,
      ms: 1, // wall clock is in milliseconds
      legend: { show: false },
      padding: look.axes ? [8, 24, 0, 0] : [4, 4, 4, 4], // half a label of the last tick stands beyond it
      series,
      bands,
      focus: { alpha: 1 },
      scales: {
        x: {
          time: look.xKind === "time",
          distr: look.logX ? 3 : 1,
          // of a single x, uPlot proposes 0 to 100
          range: ({ data: [xs] }, low, high) => zoomed() ?? widened(xs.length === 1 ? xs[0] : low, xs.length === 1 ? xs[0] : high, this.look.logX, look.xKind === "time" ? 30_000 : 0.5),
        },
        y: {
          distr: look.logY ? 3 : 1,
          range: (_u, low, high) => this.look.yRange ?? yRoom(low, high, this.look.logY),
        },
      },
      axes: look.axes ? [
        { stroke: ink, font, size: look.xKind === "time" ? 38 : 26, gap: 4, incrs: look.xKind === "step" && !look.logX ? STEPS : undefined, grid: { show: false }, ticks: { stroke: line, size: 4, width: 1 }, space: 64,
          values: look.xKind === "time" ? TIMES : (_u, splits) => splits.map((v) => (v === null ? "" : look.xKind === "relative" ? duration(v) : short(v))) },
        { stroke: ink, font, gap: 4, grid: { stroke: line, width: 1 }, ticks: { show: false }, space: 28,
          size: (_u, values) => Math.max(34, ...(values ?? []).map((v) => String(v ?? "").length * 6.4 + 10)),
          values: (_u, splits) => splits.map((v) => (v === null || (this.look.logY && !isRound(v)) ? "" : short(v))) },
      ] : [{ show: false }, { show: false }],
      cursor: {
        sync: look.sync ? { key: look.sync, scales: ["x", null], setSeries: false } : undefined,
        drag: { x: true, y: false, setScale: false, dist: 4 },
        points: { size: 6, width: 1 },
        focus: { prox: 24 },
        bind: { dblclick: (_u, _t, _h) => () => { this.events.onZoom?.(null); return null; } },
      },
      hooks: {
        setSelect: [(u) => {
          const { left, width } = u.select;
          if (width < 4) return;
          const range = [u.posToVal(left, "x"), u.posToVal(left + width, "x")];
          u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
          this.events.onZoom?.(/** @type {[number, number]} */ (range));
        }],
        setCursor: [(u) => this._hover(u)],
        draw: [(u) => this._marks(u)],
        drawSeries: [],
      },
    };
    this.plot = new uPlot(options, this._columns(), root);
    had?.destroy();
  }

  _hover(u) {
    const { left, top, idx } = u.cursor;
    if (idx === null || idx === undefined || left < 0) {
      this.events.onHover?.(null);
      return;
    }
    const columns = u.data;
    const by = new Map(this.data.curves.map((curve) => [curve.key, curve]));
    let nearest = /** @type {string|null} */ (null), distance = Infinity;
    const values = [];
    for (const paint of this.paint) {
      const at = /** @type {number} */ (this.columnOf?.get(paint.key));
      const index = near(columns[at], idx, columns[0]);
      if (index < 0) continue;
      const value = columns[at][index];
      const hasBand = Boolean(by.get(paint.key)?.low);
      values.push({ key: paint.key, value, x: columns[0][index], low: hasBand ? columns[at - 2][index] : undefined, high: hasBand ? columns[at - 1][index] : undefined });
      const away = Math.abs(u.valToPos(value, "y") - top);
      if (away < distance) {
        distance = away;
        nearest = paint.key;
      }
    }
    const isOwn = u.cursor.event !== null && u.cursor.event !== undefined && u.over.matches(":hover");
    this.events.onHover?.({ x: columns[0][idx], index: idx, left, top, key: isOwn && distance < 40 ? nearest : null, values, isOwn });
  }

  /** Marks of what no line shows: NaN on the x axis, infinities at the edge they point to. */
  _marks(u) {
    const { ctx, bbox } = u;
    const ratio = devicePixelRatio || 1;
    const size = 4 * ratio;
    const paints = new Map(this.paint.map((paint) => [paint.key, resolved(this.root, paint.color)]));
    ctx.save();
    for (const mark of this.data.marks) {
      const stroke = paints.get(mark.key);
      if (!stroke || (this.look.logX && mark.x <= 0)) continue;
      const x = u.valToPos(mark.x, "x", true);
      if (x < bbox.left - 1 || x > bbox.left + bbox.width + 1) continue;
      ctx.strokeStyle = ctx.fillStyle = stroke;
      ctx.lineWidth = 1.5 * ratio;
      ctx.beginPath();
      if (mark.sign === "nan") {
        const y = bbox.top + bbox.height - size;
        ctx.moveTo(x - size, y - size);
        ctx.lineTo(x + size, y + size);
        ctx.moveTo(x + size, y - size);
        ctx.lineTo(x - size, y + size);
        ctx.stroke();
      } else {
        const up = mark.sign === "+inf";
        const y = up ? bbox.top : bbox.top + bbox.height;
        const to = up ? 2 * size : -2 * size;
        ctx.moveTo(x, y);
        ctx.lineTo(x - size, y + to);
        ctx.lineTo(x + size, y + to);
        ctx.closePath();
        ctx.fill();
      }
    }
    if (this.look.yRange) this._beyond(u, paints, size);
    ctx.restore();
    const counters = stats();
    if (counters) {
      counters.draws += 1;
      counters.lastDraw = performance.now();
    }
  }

  /** A small bar at the edge wherever a clipped curve leaves the plot. */
  _beyond(u, paints, size) {
    const { ctx, bbox } = u;
    const [low, high] = this.look.yRange ?? [0, 1];
    for (const curve of this.data.curves) {
      const paint = paints.get(curve.key);
      if (!paint) continue;
      ctx.fillStyle = paint;
      for (let i = 0; i < this.data.x.length; i++) {
        const over = (curve.high ?? curve.line)[i] > high, under = (curve.low ?? curve.line)[i] < low;
        if (!over && !under) continue;
        const x = u.valToPos(this.data.x[i], "x", true);
        if (x < bbox.left || x > bbox.left + bbox.width) continue;
        if (over) ctx.fillRect(x - size / 2, bbox.top, size, size / 2);
        if (under) ctx.fillRect(x - size / 2, bbox.top + bbox.height - size / 2, size, size / 2);
      }
    }
  }
}

/** What a plot must be rebuilt for. @param {ChartData} data @param {Paint[]} paint @param {Look} look */
function shape(data, paint, look) {
  const bands = new Set(data.curves.filter((curve) => curve.low).map((curve) => curve.key));
  return JSON.stringify([look.xKind, look.logX, look.logY, look.sync, look.axes,
    paint.map((item) => [item.key, item.label, item.color, item.dash, bands.has(item.key)])]);
}

/** Index of the value nearest to `at` in x that a column has, or -1. */
function near(column, at, x) {
  if (column[at] !== null && column[at] !== undefined) return at;
  let before = at, after = at;
  while (before >= 0 && (column[before] === null || column[before] === undefined)) before -= 1;
  while (after < column.length && (column[after] === null || column[after] === undefined)) after += 1;
  if (before < 0) return after < column.length ? after : -1;
  if (after >= column.length) return before;
  return x[at] - x[before] <= x[after] - x[at] ? before : after;
}

/** Whether a tick of a log axis is 1, 2 or 5 times a power of ten. @param {number} value */
function isRound(value) {
  const lead = value / 10 ** Math.floor(Math.log10(value) + 1e-9);
  return [1, 2, 5, 10].some((wanted) => Math.abs(lead - wanted) < 1e-6);
}

/** @returns {[number, number]} */
function widened(low, high, isLog, room) {
  if (low === null || low === undefined) return [isLog ? 1 : 0, isLog ? 10 : 1];
  if (low === high) return isLog ? [low / 2, high * 2] : [low - room, high + room];
  return [low, high];
}

/** @returns {[number, number]} */
function yRoom(low, high, isLog) {
  if (low === null || low === undefined) return isLog ? [0.1, 1] : [0, 1];
  if (isLog) {
    const room = low === high ? 2 : Math.max(1.05, (high / low) ** 0.06);
    return [low / room, high * room];
  }
  const room = low === high ? Math.abs(low) * 0.1 || 0.5 : (high - low) * 0.06;
  return [low - room, high + room];
}
