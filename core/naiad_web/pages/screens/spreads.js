/** Many runs at once: parallel coordinates, and scatter of one field against another. */
import { html, useMemo, useState } from "../lib/html.js";
import { addressOf, change, go } from "../lib/place.js";
import { color } from "../lib/color.js";
import { short, visible } from "../lib/format.js";
import { source } from "../lib/source.js";
import { Empty, FieldChecks, FieldSelect, Popover, Skeleton, Swatch, Toggle, both, useLoaded, waiting } from "../widgets/controls.js";
import { Parallel, Scatter, wantsLog } from "../widgets/spread.js";
import { likely } from "../lib/rows.js";

/** Axes and their values for all compared runs. @param {any[]} runs @param {string[]} axes @param {string} kind */
function useAxes(runs, axes, kind) {
  const key = `${runs.map((run) => run.uid).join()} ${axes.join("\u0000")}`;
  return useLoaded(async (signal) => {
    if (!axes.length) return [];
    const answer = await source.get("/table", { kind, id: runs.map((run) => run.uid), trashed: "all", column: axes, limit: 500 }, signal);
    const at = new Map(answer.uids.map((uid, i) => [uid, i]));
    return axes.map((name) => ({ key: name, values: runs.map((run) => answer.columns.find((column) => column.name === name)?.values[at.get(run.uid)] ?? null) }));
  }, [key]);
}

/** Fields to start with. */
const useLikely = (project, kind) => useLoaded(async (signal) => {
  const { columns } = await source.get("/columns", { kind, project, limit: 20_000 }, signal);
  return likely(columns, project, signal, kind);
}, [project, kind]);

export function Coordinates({ runs, place }) {
  const { params, project } = place;
  const fields = useLikely(project, params.kind);
  const start = fields.data ?? { params: [], metrics: [], all: [] };
  const axes = params.axes.length ? params.axes : [...start.params.slice(0, 4), ...start.metrics.slice(0, 2)];
  const loaded = useAxes(runs, fields.data ? axes : [], params.kind);
  const [at, setAt] = useState(/** @type {string|null} */ (null));
  const items = useMemo(() => runs.map((run) => ({ id: run.id, label: run.label, color: color(run.id) })), [runs]);
  if (fields.error || !loaded.data || loaded.error || loaded.data.length !== axes.length || loaded.data[0]?.values.length !== runs.length) return waiting(both(fields, loaded), 8);
  const one = runs.find((run) => run.id === at);
  return html`<div class="section"><div class="bar"><${Popover} label="Axes" name="Axes"><${FieldChecks} label="axes" names=${axial(start.all)} chosen=${axes} onChange=${(next) => change({ axes: next })} /></${Popover}>
      <span class="faint" aria-live="polite">${one ? html`<${Swatch} id=${one.id} /> ${visible(one.label)} ${loaded.data.map((axis) => `${axis.key.split("/").pop()} ${formatted(axis.values[runs.indexOf(one)])}`).join(" · ")}` : "Point at a line to read it; click it to open the run."}</span></div>
    <div class="card card-body"><${Parallel} items=${items} axes=${loaded.data} highlighted=${at} onHighlight=${setAt} onOpen=${(id) => go(addressOf({ id }, project, params.kind))}
      onMove=${(from, to) => { const next = [...axes]; const [moved] = next.splice(from, 1); next.splice(to, 0, moved); change({ axes: next }); }} /></div></div>`;
}

/** Fields that make an axis. @param {any[]} fields */
const axial = (fields) => fields.filter((field) => ["float", "int", "string", "bool", "float_series"].includes(field.kind)).flatMap(({ kind, path }) => (kind === "float_series" ? [path, `${path}:min`, `${path}:max`] : [path]));

const formatted = (value) => (typeof value === "number" ? short(value) : value === null ? "–" : visible(String(value)).slice(0, 30));

export function Dots({ runs, place }) {
  const { params, project } = place;
  const fields = useLikely(project, params.kind);
  const start = fields.data ?? { params: [], metrics: [], all: [] };
  const x = params.xf || start.params[0] || start.metrics[0] || "", y = params.yf || start.metrics[0] || start.params[1] || "";
  const loaded = useAxes(runs, x && y ? [...new Set([x, y])] : [], params.kind);
  const [at, setAt] = useState(/** @type {string|null} */ (null));
  const items = useMemo(() => runs.map((run) => ({ id: run.id, label: run.label, color: color(run.id) })), [runs]);
  if (fields.error || loaded.error || !fields.data || !loaded.data) return waiting(both(fields, loaded), 8);
  const names = [...new Set([x, y, ...start.params, ...start.metrics.flatMap((path) => [path, `${path}:min`, `${path}:max`]), ...axial(start.all)])].filter(Boolean);
  const choose = (name, value, label) => html`<${FieldSelect} label=${label} value=${value} names=${names} onChange=${(path) => change({ [name]: path })} />`;
  const one = (name) => loaded.data?.find((axis) => axis.key === name);
  const ready = one(x)?.values.length === runs.length && one(y);
  const logX = params.logx || params.mode !== "linear" && wantsLog(one(x)?.values ?? []);
  return html`<div class="section"><div class="bar">${choose("xf", x, "horizontal")}${choose("yf", y, "vertical")}<${Toggle} on=${logX} onChange=${(logx) => change({ logx, mode: logx ? "" : "linear" })}>log horizontal</${Toggle}><${Toggle} on=${params.logy} onChange=${(logy) => change({ logy })}>log vertical</${Toggle}></div>
    ${!x || !y ? html`<${Empty} title="No numbers to compare" />` : !ready ? html`<${Skeleton} lines=${8} />` : html`<div class="card card-body"><${Scatter} items=${items} x=${one(x)} y=${one(y)} height=${440} logX=${logX} logY=${params.logy}
      highlighted=${at} onHighlight=${setAt} onOpen=${(id) => go(addressOf({ id }, project, params.kind))} /></div>`}</div>`;
}
