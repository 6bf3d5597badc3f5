/** A project: the list of them, its own fields, its models with their versions and stages, its artifacts; and the server itself. */
import { html, useMemo, useState } from "../lib/html.js";
import { change, href, go } from "../lib/place.js";
import { KEY_MAP } from "../lib/keys.js";
import { counted, moment, size, visible } from "../lib/format.js";
import { source } from "../lib/source.js";
import { Button, Copy, Empty, Failure, Tag, Path, both, useLoaded, waiting } from "../widgets/controls.js";
import { Tree, Table } from "../widgets/lists.js";
import { FieldView, Artifact } from "./field.js";
import { TITLES, brief, isNumeric, shown } from "./cells.js";
import { Toast, useToast } from "./shell.js";

/** @param {{place: any, about: any}} props */
export function Projects({ about }) {
  const loaded = useLoaded((signal) => source.get("/projects", {}, signal), []);
  const head = html`<div class="page-head"><h1>Projects</h1><span class="faint mono">${visible(about.store ?? "")}</span></div>`;
  if (loaded.error || !loaded.data) return html`<div class="page">${head}${waiting(loaded, 4)}</div>`;
  const { projects } = loaded.data;
  if (!projects.length) return html`<div class="page">${head}<${Empty} title="This store is empty">A project appears with its first run:<pre>${`import naiad\n\nrun = naiad.init_run(project="demo")\nrun["train/loss"].append(0.9)\nrun.stop()`}</pre></${Empty}></div>`;
  return html`<div class="page">${head}<div class="projects">${projects.map((project) => html`<a key=${project.key} class="card project-card" href=${href({ screen: "runs", project: project.name })}>
    <strong>${visible(project.name)}</strong>${project.description && html`<span class="faint">${visible(project.description)}</span>`}<span>${counted(project.runs, "run")}${project.models ? `, ${counted(project.models, "model")}` : ""}${project.trashed ? html`<span class="faint">, ${project.trashed} in the trash</span>` : ""}</span>
    <span class="faint">${project.modified ? `changed ${moment(new Date(project.modified))}` : ""}</span></a>`)}</div></div>`;
}

/** @param {{place: any, about: any}} props */
export function ProjectPage({ place, about }) {
  const { project, params } = place;
  const loaded = useLoaded(async (signal) => {
    const { projects } = await source.get("/projects", {}, signal);
    const own = projects.find((item) => item.name === project);
    if (!own) throw new Error(`This store has no project ${JSON.stringify(project)}.`);
    if (!own.uid) return { own, fields: [] };
    const { fields } = await source.get(`/containers/${own.uid}/fields`, { details: true, limit: 1000 }, signal);
    return { own, fields };
  }, [project]);
  const known = useMemo(() => new Map((loaded.data?.fields ?? []).map((field) => [field.path, field])), [loaded.data]);
  if (loaded.error || !loaded.data) return html`<div class="page">${waiting(loaded, 5)}</div>`;
  const { own, fields } = loaded.data;
  return html`<div class="page"><div class="page-head"><h1>${visible(project)}</h1><span class="faint">${own.key}</span></div>${own.description && html`<p>${visible(own.description)}</p>`}
    <div class="bar"><a class="button primary" href=${href({ screen: "runs", project })}>${counted(own.runs, "run")}</a><a class="button" href=${href({ screen: "models", project })}>${counted(own.models, "model")}</a><a class="button" href=${href({ screen: "artifacts", project })}>Artifacts</a></div>
    <h2>Fields of the project</h2>
    ${fields.length === 0 ? html`<${Empty} title="No fields of its own">${"Values and files of the whole project are logged with naiad.init_project()."}</${Empty}>` : html`<div class=${params.path ? "split" : ""}>
      <${Tree} label="Fields" leaves=${fields} value=${(leaf) => brief(known.get(leaf.path))} open=${new Set(params.open)} onOpen=${(next) => change({ open: [...next] }, { replace: true })} selected=${params.path} onSelect=${(leaf) => change({ path: leaf.path })} height="420px" kindName=${(kind) => about.kinds?.[kind]?.type ?? kind} />
      ${params.path && html`<div class="side"><${FieldView} run=${{ id: project, uid: own.uid, name: project, state: "" }} path=${params.path} place=${place} /></div>`}</div>`}</div>`;
}

/** @param {{place: any, about: any}} props */
export function About({ about }) {
  const loaded = useLoaded((signal) => source.get("/usage", {}, signal), []);
  const rows = [["naiad", about.naiad], ["interface", `/api/v${about.api}`], ["store", about.store], ["format of the store", about.store_format], ["changes", about.is_editable ? "possible (naiad ui --edit)" : "not possible: the server was started without --edit"], ["exports", (about.formats ?? []).join(", ")]].filter(([, value]) => value !== null && value !== undefined);
  const usage = loaded.data;
  return html`<div class="page"><div class="page-head"><h1>About</h1></div>
    <div class="columns-2"><section class="card card-body" aria-label="Server and store"><h2>Server and store</h2><dl class="facts">${rows.map(([name, value]) => html`<dt key=${name}>${name}</dt><dd>${visible(value ?? "")}${name === "store" && html` <${Copy} text=${() => value} label="Copy the store's path" />`}</dd>`)}
      ${usage && html`${Object.entries(usage.containers ?? {}).filter(([kind]) => kind !== "project").map(([kind, count]) => html`<dt key=${kind}>${kind.replace("_", " ")}s</dt><dd>${Number(count).toLocaleString("en")}</dd>`)}<dt>in the trash</dt><dd>${usage.trashed}</dd><dt>size</dt><dd>${size(usage.bytes)}</dd>`}</dl>
      ${loaded.error && html`<${Failure} error=${loaded.error} onRetry=${loaded.again} />`}</section>
    <section class="card card-body" aria-label="Keyboard"><h2>Keyboard</h2><dl class="keys">${KEY_MAP.map(([keys, does]) => html`<dt key=${keys}>${keys.split(" ").map((key) => html`<kbd key=${key}>${key}</kbd> `)}</dt><dd>${does}</dd>`)}</dl></section></div>
    <p class="faint">Made with Preact, htm and uPlot; their licences lie beside the pages in <code>vendor/LICENSES</code>.</p></div>`;
}

/** @param {{place: any}} props */
export function Models({ place }) {
  const { project } = place;
  const loaded = useLoaded(async (signal) => {
    const table = await source.get("/table", { kind: "model", project, column: ["sys/id", "sys/name", "sys/description", "sys/owner", "sys/creation_time", "sys/tags"], limit: 2000 }, signal);
    const versions = await Promise.all(table.ids.slice(0, 60).map((id) => source.get(`/containers/${encodeURIComponent(id)}/versions`, {}, signal).catch(() => ({ versions: [], stages: {} }))));
    return { table, versions };
  }, [project]);
  const head = html`<div class="page-head"><h1>Models</h1>${loaded.data && html`<span class="faint">${counted(loaded.data.table.total, "model")}</span>`}</div>`;
  if (loaded.error || !loaded.data) return html`<div class="page">${head}${waiting(loaded, 5)}</div>`;
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
  if (head.error || !model || !fields.data) return html`<div class="page">${waiting(both(head, fields), 6)}</div>`;
  const { params, project } = place;
  const isVersion = model.kind === "model_version";
  const stage = async (event) => {
    try {
      await source.change("PATCH", address, { stage: event.target.value });
      head.again();
      fields.again();
      say({ text: "The stage is changed." });
    } catch (failure) {
      say({ text: failure.message });
    }
  };
  return html`<div class="page"><div class="bar"><a class="faint" href=${href({ screen: "models", project })}>Models</a>${isVersion && html`<span class="faint">/</span><a class="faint" href=${href({ screen: "model", project, id: model.model_id })}>${visible(model.model_id)}</a>`}<span class="faint">/</span>
      <h1>${visible(model.name || model.id)}</h1><span class="faint">${visible(model.id)}</span>
      ${isVersion && (source.isEditable ? html`<label class="toggle">stage <select class="input" value=${model.stage} onChange=${stage}>${(about.stages ?? []).map((name) => html`<option key=${name} value=${name}>${name}</option>`)}</select></label>` : html`<${Stage} stage=${model.stage} count=${1} />`)}</div>
    <div class="run-head"><div class="line"><span>by ${visible(model.owner ?? "")}</span><span>created ${moment(new Date(model.created))}</span><span class="tags">${model.tags.map((tag) => html`<${Tag} key=${tag} text=${tag} />`)}</span></div>${model.description && html`<p>${visible(model.description)}</p>`}</div>
    ${isVersion ? fields.data.fields.some((field) => field.path === "sys/stage_history") && html`<${History} model=${model} stage=${model.stage} />` : html`<${Versions} model=${model} place=${place} />`}
    <h2>Fields</h2>
    <div class=${params.path ? "split" : ""}><${Tree} label="Fields" leaves=${fields.data.fields} open=${new Set(params.open)} onOpen=${(next) => change({ open: [...next] }, { replace: true })} selected=${params.path} onSelect=${(leaf) => change({ path: leaf.path })}
        value=${(leaf) => brief(known.get(leaf.path))} height="360px" kindName=${(kind) => about.kinds?.[kind]?.type ?? kind} />
      ${params.path && html`<div class="side"><${FieldView} run=${model} path=${params.path} place=${place} /></div>`}</div><${Toast} toast=${toast} onClose=${() => say(null)} /></div>`;
}

/** The stages of a version, the latest first. @param {any} props */
function History({ model, stage }) {
  const loaded = useLoaded((signal) => source.get("/lines", { run: model.uid, path: "sys/stage_history", start: -50, limit: 50 }, signal), [model.uid, stage]);
  const { texts = [], times = [], total = 0 } = loaded.data ?? {};
  if (!texts.length) return null;
  return html`<section aria-label="Stage history"><h2>Stages</h2><ol class="history">${texts.map((text, i) => html`<li key=${times[i]}><time class="faint" datetime=${new Date(times[i]).toISOString()}>${moment(new Date(times[i]))}</time> <${Stage} stage=${text} count=${1} /></li>`).reverse()}</ol>
    ${total > texts.length && html`<p class="faint">The last ${texts.length} of ${total}.</p>`}</section>`;
}

function Versions({ model, place }) {
  const { project } = place;
  const loaded = useLoaded((signal) => source.get("/table", { kind: "model_version", model: model.id, column: ["sys/id", "sys/name", "sys/stage", "sys/creation_time", "sys/owner", "*"], limit: 2000 }, signal), [model.uid]);
  const [chosen, setChosen] = useState(/** @type {Set<string>} */ (new Set()));
  const [widths, setWidths] = useState(/** @type {Record<string, number>} */ ({}));
  if (loaded.error || !loaded.data) return waiting(loaded, 4);
  const { ids, columns } = loaded.data;
  if (!ids.length) return html`<${Empty} title="No versions yet" />`;
  const first = ["sys/id", "sys/name", "sys/stage", "sys/creation_time", "sys/owner"];
  const names = [...first, ...columns.map((column) => column.name).filter((name) => !first.includes(name) && !name.startsWith("sys/"))].slice(0, 30);
  const by = new Map(columns.map((column) => [column.name, column]));
  const select = (id) => setChosen((before) => (before.has(id) ? new Set([...before].filter((other) => other !== id)) : new Set([...before, id])));
  const compare = () => go({ screen: "compare", project, params: { runs: ids.filter((id) => chosen.has(id)).slice(0, 100), kind: "model_version" } });
  return html`<div class="bar"><h2>${counted(ids.length, "version")}</h2><span class="grow"></span>${ids.length > 1 && html`<${Button} disabled=${chosen.size < 2} onClick=${compare}>Compare ${chosen.size > 1 ? counted(chosen.size, "version") : "versions"}</${Button}>`}</div><div style=${{ height: `${Math.min(420, 34 + 29 * ids.length)}px`, display: "flex" }}><${Table} label="Versions" count=${ids.length} row=${(i) => ({ id: ids[i], i })} rowKey=${(row) => row.id}
    columns=${names.map((name) => ({ key: name, title: TITLES[name] ?? name, width: widths[name] ?? 130, sortable: false, fixed: true, align: isNumeric(by.get(name)?.kind) ? /** @type {"end"} */ ("end") : undefined }))} onColumns=${(next) => setWidths(Object.fromEntries(next.map((c) => [c.key, c.width])))}
    selected=${chosen} onSelect=${select} onSelectAll=${(on) => setChosen(new Set(on ? ids : []))} onKey=${(key) => key === "c" && chosen.size > 1 && (compare(), true)}
    onOpen=${(row) => go({ screen: "model", project, id: model.id, tab: row.id })}
    cell=${(row, column) => (column.key === "sys/id" ? html`<a href=${href({ screen: "model", project, id: model.id, tab: row.id })} tabindex="-1">${visible(row.id)}</a>` : column.key === "sys/stage" ? html`<${Stage} stage=${by.get(column.key)?.values[row.i]} count=${1} />`
      : shown(by.get(column.key)?.values[row.i], by.get(column.key)?.kind, column.key, { present: by.get(column.key)?.present?.[row.i] }))} /></div>`;
}

/** @param {{place: any}} props */
export function Artifacts({ place }) {
  const { project, params } = place;
  const [search, setSearch] = useState("");
  const loaded = useLoaded(async (signal) => {
    const { columns } = await source.get("/columns", { kind: "run", project, limit: 20_000 }, signal);
    const paths = columns.filter((column) => column.kind === "artifact").map((column) => column.path).slice(0, 200);
    if (!paths.length) return [];
    const table = await source.get("/table", { kind: "run", project, column: [...paths, "sys/creation_time"], limit: 20_000 }, signal);
    const created = table.columns.find((column) => column.name === "sys/creation_time").values;
    const found = new Map();
    for (const column of table.columns.filter((item) => paths.includes(item.name))) {
      column.values.forEach((hash, i) => {
        if (!hash) return;
        const key = `${column.name}\u0000${hash}`;
        const row = found.get(key) ?? { path: column.name, hash, users: [], first: created[i], last: created[i], run: table.uids[i] };
        row.users.push(table.ids[i]);
        if (created[i] < row.first) row.first = created[i];
        if (created[i] > row.last) row.last = created[i];
        found.set(key, row);
      });
    }
    return [...found.values()].sort((a, b) => (a.path === b.path ? (a.first < b.first ? 1 : -1) : a.path < b.path ? -1 : 1));
  }, [project]);
  const rows = useMemo(() => (loaded.data ?? []).filter((row) => row.path.toLowerCase().includes(search.toLowerCase()) || row.hash.startsWith(search)), [loaded.data, search]);
  const head = html`<div class="page-head"><h1>Artifacts</h1>${loaded.data && html`<span class="faint">${counted(loaded.data.length, "version")}</span>`}</div>`;
  if (loaded.error || !loaded.data) return html`<div class="page">${head}${waiting(loaded, 6)}</div>`;
  if (!loaded.data.length) return html`<div class="page">${head}<${Empty} title="No artifacts yet">Record files and their hashes with run["data/train"].track_files("data/").</${Empty}></div>`;
  const chosen = rows.find((row) => `${row.path} ${row.hash}` === params.entry);
  return html`<div class="page">${head}<input class="input" style=${{ maxWidth: "320px" }} type="search" placeholder="Path or hash" aria-label="Search artifacts" value=${search} onInput=${(e) => setSearch(e.target.value)} />
    <div class=${chosen ? "split" : ""}><ul class="list">${rows.map((row) => html`<li key=${row.path + row.hash}><button type="button" class="row" aria-current=${String(row === chosen)} onClick=${() => change({ entry: row === chosen ? "" : `${row.path} ${row.hash}` })}>
        <span><${Path} path=${row.path} /> <span class="mono faint">${row.hash.slice(0, 12)}</span></span><span class="faint">${counted(row.users.length, "run")}</span><span class="faint">${moment(new Date(row.first))}</span></button></li>`)}</ul>
      ${chosen && html`<div class="side section"><h2><${Path} path=${chosen.path} /></h2><${Artifact} key=${chosen.hash} run=${chosen.run} path=${chosen.path} />
        ${chosen.users.length > 1 && html`<a class="button" href=${href({ screen: "compare", project, tab: "artifacts", params: { runs: chosen.users.slice(0, 100) } })}>Compare these runs</a>`}</div>`}</div></div>`;
}
