/** Fields in which two groups of runs differ, the clearest first: a first answer to "why is this better?". */

/** @typedef {{path: string, strength: number, isClear: boolean, texts: [string, string]}} Reason */

/** Characters of a text that are shown; a hash is told from another by fewer. */
const LONG = 28;

/** A name in which a smaller value is better. */
const FALLING = /(^|[^a-z])(loss|error|err|cost|perplexity|ppl|nll|mse|mae|rmse|wer|cer|fid|time|seconds|duration|latency)($|[^a-z])/i;

/** Whether a smaller value of a metric is better, judged by its name. @param {string} path */
export const isFalling = (path) => FALLING.test(path.replace(/:(last|min|max|average|variance)$/, ""));

/** Runs in two groups by a metric: a share of them with the best values, and the others. One without a number is in neither,
 * and so is one whose value equals that of the last of the best: there is no reason to put it on either side.
 * @param {any[]} values @param {boolean} isLess whether less is better @param {number} share of the better group
 * @returns {[number[], number[]]} places in the values */
export function halves(values, isLess, share) {
  const there = values.map((value, at) => ({ value: number(value), at })).filter(({ value }) => value !== null);
  there.sort((a, b) => (isLess ? 1 : -1) * (/** @type {number} */ (a.value) - /** @type {number} */ (b.value)));
  const count = Math.max(1, Math.floor(there.length * share));
  const edge = there[count - 1]?.value;
  const better = there.slice(0, count), others = there.slice(count).filter(({ value }) => value !== edge);
  return [better.map(({ at }) => at), others.map(({ at }) => at)];
}

/** @param {{name: string, kind: string|null, values: any[]}[]} columns @param {number[]} better @param {number[]} others
 * @param {(value: number) => string} written @returns {Reason[]} */
export function reasons(columns, better, others, written) {
  const found = columns.map(({ name, values }) => {
    const a = better.map((at) => values[at]), b = others.map((at) => values[at]);
    return { path: name, ...(areNumbers([...a, ...b]) ? ofNumbers(a.flatMap(numbers), b.flatMap(numbers), written) : ofWords(a.map(word), b.map(word))) };
  });
  return found.filter(({ strength }) => strength > 0).sort((a, b) => Number(b.isClear) - Number(a.isClear) || b.strength - a.strength || (a.path < b.path ? -1 : 1));
}

/** A value as a number; the interface writes NaN and infinities as texts. @param {any} value */
function number(value) {
  const found = typeof value === "number" ? value : typeof value === "string" && value !== "" ? Number(value) : NaN;
  return Number.isNaN(found) ? null : found;
}

const numbers = (value) => (typeof value === "number" ? [value] : []);

/** Numbers are compared as such where there are more than two of them; a flag of 0 and 1 is read more easily as words. @param {any[]} values */
function areNumbers(values) {
  const there = values.filter((value) => value !== null && value !== undefined);
  return there.every((value) => typeof value === "number") && new Set(there).size > 2;
}

/** How often a number of one group is above one of the other: always, or never, is a strength of 1; half of the time is 0.
 * Only the order counts, so neither a scale of powers of ten nor one run that went wrong decides (Mann and Whitney's U).
 * @param {number[]} a @param {number[]} b @param {(value: number) => string} written */
function ofNumbers(a, b, written) {
  const pairs = a.length * b.length;
  let above = 0;
  for (const one of a) for (const other of b) above += one > other ? 1 : one === other ? 0.5 : 0;
  const strength = pairs ? Math.abs((2 * above) / pairs - 1) : 0;
  const spread = pairs ? Math.sqrt((a.length + b.length + 1) / (3 * pairs)) : 1; // of the strength, where the groups do not differ
  return { strength, isClear: strength > 2 * spread, texts: /** @type {[string, string]} */ ([ranged(a, written), ranged(b, written)]) };
}

/** The median, and both ends. @param {number[]} values @param {(value: number) => string} written */
function ranged(values, written) {
  if (!values.length) return "none";
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted[(sorted.length - 1) >> 1], low = sorted[0], high = sorted[sorted.length - 1];
  return low === high ? written(low) : `${written(middle)} (${written(low)} to ${written(high)})`;
}

const word = (value) => (value === null || value === undefined ? "none" : Array.isArray(value) ? value.join(", ") || "none" : String(value));

/** The share of runs that would need another value for both groups to be alike. A text that nearly every run has for itself,
 * as a name, tells nothing. @param {string[]} a @param {string[]} b */
function ofWords(a, b) {
  const counts = new Map();
  for (const [at, list] of [a, b].entries()) for (const text of list) (counts.get(text) ?? counts.set(text, [0, 0]).get(text))[at] += 1;
  const total = a.length + b.length;
  if (!a.length || !b.length || counts.size > Math.max(2, total / 2)) return { strength: 0, isClear: false, texts: /** @type {[string, string]} */ (["", ""]) };
  const rows = [...counts].map(([text, [x, y]]) => ({ text, x: x / a.length, y: y / b.length, n: x + y }));
  const strength = rows.reduce((sum, { x, y }) => sum + Math.abs(x - y) / 2, 0);
  const expected = rows.reduce((sum, { x, y, n }) => sum + ((a.length * b.length) / total) * ((x - y) ** 2 / (n / total)), 0); // chi-squared
  const freedom = counts.size - 1;
  const [most] = rows.sort((p, q) => Math.abs(q.x - q.y) - Math.abs(p.x - p.y) || q.x - p.x);
  const name = most.text.length > LONG ? `${most.text.slice(0, LONG)}…` : most.text;
  const text = (share) => `${name}: ${Math.round(100 * share)}\u00a0%`;
  return { strength, isClear: freedom > 0 && expected > freedom + 2 * Math.sqrt(2 * freedom), texts: /** @type {[string, string]} */ ([text(most.x), text(most.y)]) };
}
