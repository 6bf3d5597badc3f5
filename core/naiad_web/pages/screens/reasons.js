/** "Why better?": the fields in which the better of some runs differ from the others, the clearest first. */
import { html, useMemo } from "../lib/html.js";
import { change, href } from "../lib/place.js";
import { counted, short, visible } from "../lib/format.js";
import { likely } from "../lib/rows.js";
import { source } from "../lib/source.js";
import { Choice, Empty, Failure, FieldSelect, Path, Skeleton, useLoaded } from "../widgets/controls.js";

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

/** Fields that are compared; a project may have thousands, and the first are those near the root. */
const MOST = 400;
const SHARES = [[0.5, "half"], [0.25, "quarter"], [0.1, "tenth"]];
/** Until they are there; the same object each time, as what depends on it is loaded anew for another one. @type {{all: any[], metrics: string[]}} */
const NO_FIELDS = { all: [], metrics: [] };
const ATTRIBUTES = ["float", "int", "string", "bool", "string_set"];

/** @param {{runs: any[], place: any}} props */
export function Reasons({ runs, place }) {
  const { params, project } = place;
  const fields = useLoaded(async (signal) => {
    const { columns } = await source.get("/columns", { kind: params.kind, project, limit: 20_000 }, signal);
    return likely(columns, project, signal, params.kind);
  }, [project, params.kind]);
  const { all, metrics } = fields.data ?? NO_FIELDS;
  const series = useMemo(() => all.filter((field) => field.kind === "float_series").flatMap(({ path }) => [path, `${path}:min`, `${path}:max`]), [all]);
  const metric = params.yf || metrics[0] || series[0] || "";
  const causes = useMemo(() => [...all.filter((field) => ATTRIBUTES.includes(field.kind) && field.path !== metric).map((field) => field.path)
    .sort((a, b) => a.split("/").length - b.split("/").length || (a < b ? -1 : 1)).slice(0, MOST), "sys/tags", "sys/hostname"], [all, metric]);
  const ids = runs.map((run) => run.uid);
  const table = useLoaded(async (signal) => (metric && fields.data
    ? source.get("/table", { kind: params.kind, id: ids, trashed: "all", column: [metric, ...causes], limit: 500 }, signal) : null), [ids.join(), metric, causes]);
  const isLess = params.mode ? params.mode === "less" : isFalling(metric);
  const share = SHARES.some(([one]) => one === params.share) ? params.share : 0.5;
  const found = useMemo(() => {
    if (!table.data) return null;
    const values = new Map(table.data.columns.map((column) => [column.name, column]));
    const [better, others] = halves(values.get(metric)?.values ?? [], isLess, share);
    return { better, others, rows: better.length && others.length ? reasons(causes.flatMap((name) => values.get(name) ?? []), better, others, short) : [] };
  }, [table.data, metric, isLess, share]);
  if (fields.error || table.error) return html`<${Failure} error=${fields.error ?? table.error} onRetry=${() => { fields.again(); table.again(); }} />`;
  if (!fields.data) return html`<${Skeleton} lines=${8} />`;
  const names = [...series, ...all.filter((field) => ["float", "int"].includes(field.kind)).map((field) => field.path)];
  if (!metric && !names.length) return html`<${Empty} title="No numbers to judge by">Log a result with run["val/accuracy"].append(0.9).</${Empty}>`;
  const clear = found?.rows.filter((row) => row.isClear).length ?? 0;
  return html`<div class="section">
    <div class="bar"><${FieldSelect} label="judged by" value=${metric} names=${names} onChange=${(yf) => change({ yf, mode: "" })} />
      <${Choice} label="Which is better" value=${isLess ? "less" : "more"} onChange=${(mode) => change({ mode })} options=${[["less", "less is better"], ["more", "more is better"]]} />
      <label class="toggle">the best <select class="input" value=${share} onChange=${(e) => change({ share: +e.target.value })}>${SHARES.map(([one, name]) => html`<option key=${one} value=${one}>${name}</option>`)}</select></label>
      <span class="grow"></span><span class="faint" aria-live="polite">${found ? `${counted(found.better.length, "run")} against ${found.others.length}` : "…"}</span></div>
    ${!found ? html`<${Skeleton} lines=${8} />` : !found.better.length || !found.others.length ? html`<${Empty} title="There are not two groups">Two runs or more need different values of ${visible(metric)}.</${Empty}>`
      : !found.rows.length ? html`<${Empty} title="No field tells the two groups apart">Texts that nearly every run has for itself are left out.</${Empty}>` : html`
    <div class="card card-body reasons"><table class="plain"><caption class="spoken">Fields that differ, the clearest first</caption>
      <thead><tr><th scope="col">field</th><th scope="col" title="1: the groups do not overlap">difference</th><th scope="col">better runs</th><th scope="col">other runs</th></tr></thead>
      <tbody>${found.rows.slice(0, 100).map((row) => html`<tr key=${row.path} class=${row.isClear ? "" : "faint"}><th scope="row"><a href=${href({ ...place, tab: "scatter", params: { ...params, xf: row.path, yf: metric, mode: "" } })}><${Path} path=${row.path} /></a></th>
        <td class="strength"><span aria-hidden="true" style=${{ width: `${Math.round(60 * row.strength)}px` }}></span> ${row.strength.toFixed(2)}</td>${row.texts.map((text, i) => html`<td key=${i}><bdi>${visible(text)}</bdi></td>`)}</tr>`)}</tbody></table></div>
    <p class="faint">${clear ? `${counted(clear, "field")} ${clear === 1 ? "differs" : "differ"} more than chance explains` : "No field differs more than chance explains"}${clear < found.rows.length ? "; the grey ones may differ by chance" : ""}. Numbers are compared by their order: median, lowest and highest are shown.
      What differs need not be the cause.${causes.length > MOST ? ` The first ${MOST} fields are compared.` : ""}</p>`}</div>`;
}
