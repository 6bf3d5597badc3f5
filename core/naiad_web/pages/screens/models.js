/** Models with their versions, stages and what they refer to. */
import { html, useMemo, useState } from "../lib/html.js";
import { change, go, href } from "../lib/place.js";
import { counted, moment, visible } from "../lib/format.js";
import { source } from "../lib/source.js";
import { Empty, Failure, Skeleton, Tag, useLoaded } from "../widgets/controls.js";
import { Table } from "../widgets/table.js";
import { Tree } from "../widgets/tree.js";
import { FieldView } from "./field.js";
import { Toast, useToast } from "./edit.js";
import { brief, isNumeric, shown } from "./cells.js";

/** @param {{place: any}} props */
export function Models({ place }) {
  const { project } = place;
  const loaded = useLoaded(async (signal) => {
    const table = await source.get("/table", { kind: "model", project, column: ["sys/id", "sys/name", "sys/description", "sys/owner", "sys/creation_time", "sys/tags"], limit: 2000 }, signal);
    const versions = await Promise.all(table.ids.slice(0, 60).map((id) => source.get(`/containers/${encodeURIComponent(id)}/versions`, {}, signal).catch(() => ({ versions: [], stages: {} }))));
    return { table, versions };
  }, [project]);
  if (loaded.error) return html`<div class="page"><${Failure} error=${loaded.error} onRetry=${loaded.again} /></div>`;
  const head = html`<div class="page-head"><h1>Models</h1>${loaded.data && html`<span class="faint">${counted(loaded.data.table.total, "model")}</span>`}</div>`;
  if (!loaded.data) return html`<div class="page">${head}<${Skeleton} lines=${5} /></div>`;
  const { table, versions } = loaded.data;
  const value = (name, i) => table.columns.find((column) => column.name === name)?.values[i];
  if (!table.total) return html`<div class="page">${head}<${Empty} title="No models yet">A model holds versions with stages:<pre>${`import naiad\n\nmodel = naiad.init_model(project=${JSON.stringify(project)}, key="CNN")`}</pre></${Empty}></div>`;
  return html`<div class="page">${head}<div class="projects">${table.ids.map((id, i) => html`<a key=${id} class="card project-card" href=${href({ screen: "model", project, id })}>
    <strong>${visible(value("sys/name", i) || id)}</strong><span class="faint">${visible(id)}</span>${value("sys/description", i) && html`<span>${visible(value("sys/description", i))}</span>`}
    <span>${counted(versions[i]?.versions.length ?? 0, "version")}</span><${Stages} stages=${versions[i]?.stages ?? {}} /></a>`)}</div></div>`;
}

const Stages = ({ stages }) => html`<span class="tags">${Object.entries(stages).filter(([, count]) => count).map(([stage, count]) => html`<${Stage} key=${stage} stage=${stage} count=${count} />`)}</span>`;

const Stage = ({ stage, count }) => html`<span class=${`tag stage-${stage}`}>${visible(stage)}${count > 1 ? ` ${count}` : ""}</span>`;

/** A model or one of its versions. @param {{place: any, about: any}} props */
export function Model({ place, about }) {
  const id = place.tab || place.id;
  const address = `/containers/${encodeURIComponent(id)}`;
  const head = useLoaded((signal) => source.get(address, {}, signal), [id]);
  const fields = useLoaded((signal) => source.get(`${address}/fields`, { limit: 200_000, details: false }, signal), [id]);
  const details = useLoaded((signal) => source.get(`${address}/fields`, { limit: 1000, details: true }, signal), [id]);
  const [toast, say] = useToast();
  const known = useMemo(() => new Map((details.data?.fields ?? []).map((field) => [field.path, field])), [details.data]);
  const model = head.data?.id === id || head.data?.uid === id ? head.data : null;
  if (head.error) return html`<div class="page"><${Failure} error=${head.error} onRetry=${head.again} /></div>`;
  if (!model || !fields.data) return html`<div class="page"><${Skeleton} lines=${6} /></div>`;
  const { params, project } = place;
  const isVersion = model.kind === "model_version";
  const stage = async (event) => {
    try {
      await source.change("PATCH", address, { stage: event.target.value });
      head.again();
      say({ text: "The stage is changed." });
    } catch (failure) {
      say({ text: failure.message });
    }
  };
  return html`<div class="page"><div class="bar"><a class="faint" href=${href({ screen: "models", project })}>Models</a>${isVersion && html`<span class="faint">/</span><a class="faint" href=${href({ screen: "model", project, id: place.id })}>${visible(place.id)}</a>`}<span class="faint">/</span>
      <h1>${visible(model.name || model.id)}</h1><span class="faint">${visible(model.id)}</span>
      ${isVersion && (source.isEditable ? html`<label class="toggle">stage <select class="input" value=${model.stage} onChange=${stage}>${(about.stages ?? []).map((name) => html`<option key=${name} value=${name}>${name}</option>`)}</select></label>` : html`<${Stage} stage=${model.stage} count=${1} />`)}</div>
    <div class="run-head"><div class="line"><span>by ${visible(model.owner ?? "")}</span><span>created ${moment(new Date(model.created))}</span><span class="tags">${model.tags.map((tag) => html`<${Tag} key=${tag} text=${tag} />`)}</span></div>${model.description && html`<p>${visible(model.description)}</p>`}</div>
    ${!isVersion && html`<${Versions} model=${model} place=${place} />`}
    <h2>Fields</h2>
    <div class=${params.path ? "split" : ""}><${Tree} label="Fields" leaves=${fields.data.fields} open=${new Set(params.open)} onOpen=${(next) => change({ open: [...next] }, { replace: true })} selected=${params.path} onSelect=${(leaf) => change({ path: leaf.path })}
        value=${(leaf) => brief(known.get(leaf.path))} height="360px" kindName=${(kind) => about.kinds?.[kind]?.type ?? kind} />
      ${params.path && html`<div class="side"><${FieldView} run=${model} path=${params.path} place=${place} /></div>`}</div><${Toast} toast=${toast} onClose=${() => say(null)} /></div>`;
}

function Versions({ model, place }) {
  const { project } = place;
  const loaded = useLoaded((signal) => source.get("/table", { kind: "model_version", model: model.id, column: ["sys/id", "sys/name", "sys/stage", "sys/creation_time", "sys/owner", "*"], limit: 2000 }, signal), [model.uid]);
  const [widths, setWidths] = useState(/** @type {Record<string, number>} */ ({}));
  if (loaded.error) return html`<${Failure} error=${loaded.error} onRetry=${loaded.again} />`;
  if (!loaded.data) return html`<${Skeleton} lines=${4} />`;
  const { ids, columns } = loaded.data;
  if (!ids.length) return html`<${Empty} title="No versions yet" />`;
  const first = ["sys/id", "sys/name", "sys/stage", "sys/creation_time", "sys/owner"];
  const names = [...first, ...columns.map((column) => column.name).filter((name) => !first.includes(name) && !name.startsWith("sys/"))].slice(0, 30);
  const by = new Map(columns.map((column) => [column.name, column]));
  return html`<h2>${counted(ids.length, "version")}</h2><div style=${{ height: `${Math.min(420, 34 + 29 * ids.length)}px`, display: "flex" }}><${Table} label="Versions" count=${ids.length} row=${(i) => ({ id: ids[i], i })} rowKey=${(row) => row.id}
    columns=${names.map((name) => ({ key: name, title: name.replace("sys/", ""), width: widths[name] ?? 130, sortable: false, fixed: true, align: isNumeric(by.get(name)?.kind) ? /** @type {"end"} */ ("end") : undefined }))} onColumns=${(next) => setWidths(Object.fromEntries(next.map((c) => [c.key, c.width])))}
    onOpen=${(row) => go({ screen: "model", project, id: model.id, tab: row.id })}
    cell=${(row, column) => (column.key === "sys/id" ? html`<a href=${href({ screen: "model", project, id: model.id, tab: row.id })} tabindex="-1">${visible(row.id)}</a>` : column.key === "sys/stage" ? html`<${Stage} stage=${by.get(column.key)?.values[row.i]} count=${1} />`
      : shown(by.get(column.key)?.values[row.i], by.get(column.key)?.kind, column.key, { present: by.get(column.key)?.present?.[row.i] }))} /></div>`;
}
