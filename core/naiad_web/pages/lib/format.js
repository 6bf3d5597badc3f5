/** Values as text: short in tables and axes, whole when hovered or copied. */

const DIGITS = 5;

/** A number in at most five significant digits. @param {number} value */
export function short(value) {
  if (value === null || value === undefined) return "";
  if (Number.isNaN(value)) return "NaN";
  if (value === Infinity) return "∞";
  if (value === -Infinity) return "−∞";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e7) return minus(value.toLocaleString("en", { useGrouping: size >= 1e4 }));
  if (size >= 1e7 || size < 1e-4) return minus(value.toExponential(3).replace(/\.?0+e/, "e").replace("e+", "e"));
  return minus(String(Number(value.toPrecision(DIGITS))));
}

/** @param {string} text */
const minus = (text) => text.replace("-", "−").replace("e−", "e−");

/** A number as it is stored. @param {unknown} value */
export function whole(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number" && Object.is(value, -0)) return "-0";
  return String(value);
}

/** Formats of the numbers of a column, and what a menu calls them. @type {[string, string][]} */
export const FORMATS = [["", "automatic"], ["2", "two decimals"], ["4", "four decimals"], ["percent", "percent"], ["exponent", "powers of ten"], ["whole", "as stored"]];

/** A number in one of FORMATS. @param {number} value @param {string} [format] */
export function written(value, format = "") {
  if (!format || !Number.isFinite(value)) return short(value);
  if (format === "percent") return `${short(100 * value)} %`;
  if (format === "exponent") return minus(value.toExponential(2));
  if (format === "whole") return whole(value);
  return /^\d$/.test(format) ? minus(value.toFixed(Number(format))) : short(value);
}

/** @param {number} bytes */
export function size(bytes) {
  if (bytes === null || bytes === undefined) return "";
  if (bytes < 1000) return `${bytes} B`;
  for (const unit of ["kB", "MB", "GB", "TB"]) {
    bytes /= 1000;
    if (bytes < 999.5 || unit === "TB") return `${bytes < 10 ? bytes.toFixed(1) : Math.round(bytes)} ${unit}`;
  }
  return "";
}

/** @param {number} seconds */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "";
  const sign = seconds < 0 ? "−" : "";
  let left = Math.abs(seconds);
  if (left < 1) return `${sign}${Math.round(left * 1000)} ms`;
  if (left < 60) return `${sign}${left < 10 ? Number(left.toFixed(1)) : Math.round(left)} s`;
  left = Math.round(left);
  const days = Math.floor(left / 86400), hours = Math.floor(left / 3600) % 24;
  const minutes = Math.floor(left / 60) % 60, rest = left % 60;
  if (days) return `${sign}${days} d ${hours} h`;
  if (hours) return `${sign}${hours} h ${minutes} min`;
  return `${sign}${minutes} min ${rest} s`;
}

/** Seconds since a moment, in words. @param {number} seconds */
export const ago = (seconds) => (seconds < 2 ? "now" : `${duration(Math.max(0, Math.round(seconds)))} ago`);

/** A moment as local time; the date too unless it is today's. @param {Date} when @param {Date} [now] */
export function moment(when, now = new Date()) {
  if (!(when instanceof Date) || Number.isNaN(+when)) return "";
  const pad = (n) => String(n).padStart(2, "0");
  const time = `${pad(when.getHours())}:${pad(when.getMinutes())}`;
  if (when.toDateString() === now.toDateString()) return time;
  const day = `${when.getFullYear()}-${pad(when.getMonth() + 1)}-${pad(when.getDate())}`;
  return `${day} ${time}`;
}

/** @param {number} count @param {string} noun @param {string} [plural] */
export const counted = (count, noun, plural) =>
  `${count.toLocaleString("en")} ${count === 1 ? noun : plural ?? noun + "s"}`;

/** Labels of runs: names, and where several have one name also their ids. @param {{id: string, name?: string|null}[]} runs */
export function labels(runs) {
  const times = new Map();
  for (const { name } of runs) times.set(name, (times.get(name) ?? 0) + 1);
  return runs.map(({ id, name }) => (!name ? id : times.get(name) > 1 ? `${name} ${id}` : name));
}

/** Controls that could reorder or hide text (bidi, zero width, C0) shown as visible marks.
 * @param {unknown} text */
export function visible(text) {
  return String(text).replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
