/** "Why better?": the parameters in which the better of some runs differ from the others. */
import { html, useMemo } from "../lib/html.js";
import { change, href } from "../lib/place.js";
import { counted, short, visible } from "../lib/format.js";
import { halves, isFalling, reasons } from "../lib/reasons.js";
import { likely } from "../lib/rows.js";
import { source } from "../lib/source.js";
import { Choice, Empty, Failure, FieldSelect, Path, Skeleton, useLoaded } from "../widgets/controls.js";

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
