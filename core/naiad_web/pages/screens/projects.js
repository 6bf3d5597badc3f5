/** Projects of the store, one project's own fields, and what is known of the server and the store. */
import { html, useMemo } from "../lib/html.js";
import { change, href } from "../lib/place.js";
import { KEY_MAP } from "../lib/keys.js";
import { counted, moment, size, visible } from "../lib/format.js";
import { source } from "../lib/source.js";
import { Copy, Empty, Failure, Skeleton, useLoaded } from "../widgets/controls.js";
import { Tree } from "../widgets/tree.js";
import { FieldView } from "./field.js";
import { brief } from "./cells.js";

/** @param {{place: any, about: any}} props */
export function Projects({ about }) {
  const loaded = useLoaded((signal) => source.get("/projects", {}, signal), []);
  const head = html`<div class="page-head"><h1>Projects</h1><span class="faint mono">${visible(about.store ?? "")}</span></div>`;
  if (loaded.error) return html`<div class="page">${head}<${Failure} error=${loaded.error} onRetry=${loaded.again} /></div>`;
  if (!loaded.data) return html`<div class="page">${head}<${Skeleton} lines=${4} /></div>`;
  const { projects } = loaded.data;
  if (!projects.length) return html`<div class="page">${head}<${Empty} title="This store is empty">The first run makes its project:<pre>${`import naiad\n\nrun = naiad.init_run(project="demo")\nrun["train/loss"].append(0.9)\nrun.stop()`}</pre></${Empty}></div>`;
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
  if (loaded.error) return html`<div class="page"><${Failure} error=${loaded.error} onRetry=${loaded.again} /></div>`;
  if (!loaded.data) return html`<div class="page"><${Skeleton} lines=${5} /></div>`;
  const { own, fields } = loaded.data;
  return html`<div class="page"><div class="page-head"><h1>${visible(project)}</h1><span class="faint">${own.key}</span></div>${own.description && html`<p>${visible(own.description)}</p>`}
    <div class="bar"><a class="button primary" href=${href({ screen: "runs", project })}>${counted(own.runs, "run")}</a><a class="button" href=${href({ screen: "models", project })}>${counted(own.models, "model")}</a><a class="button" href=${href({ screen: "artifacts", project })}>Artifacts</a></div>
    <h2>Fields of the project</h2>
    ${fields.length === 0 ? html`<${Empty} title="No fields of its own">${"naiad.init_project(...) can keep files and values that belong to all runs."}</${Empty}>` : html`<div class=${params.path ? "split" : ""}>
      <${Tree} label="Fields" leaves=${fields} value=${(leaf) => brief(known.get(leaf.path))} open=${new Set(params.open)} onOpen=${(next) => change({ open: [...next] }, { replace: true })} selected=${params.path} onSelect=${(leaf) => change({ path: leaf.path })} height="420px" kindName=${(kind) => about.kinds?.[kind]?.type ?? kind} />
      ${params.path && html`<div class="side"><${FieldView} run=${{ id: project, uid: own.uid, name: project, state: "" }} path=${params.path} place=${place} /></div>`}</div>`}</div>`;
}

/** @param {{place: any, about: any}} props */
export function About({ about }) {
  const loaded = useLoaded((signal) => source.get("/usage", {}, signal), []);
  const rows = [["naiad", about.naiad], ["interface", `/api/v${about.api}`], ["store", about.store], ["changes", about.is_editable ? "possible (naiad ui --edit)" : "not possible: the server was started without --edit"], ["formats", (about.formats ?? []).join(", ")]];
  const usage = loaded.data;
  return html`<div class="page"><div class="page-head"><h1>About</h1></div>
    <div class="columns-2"><section class="card card-body" aria-label="Server and store"><h2>Server and store</h2><dl class="facts">${rows.map(([name, value]) => html`<dt key=${name}>${name}</dt><dd>${visible(value ?? "")}${name === "store" && html` <${Copy} text=${() => value} label="Copy the store's path" />`}</dd>`)}
      ${usage && html`${Object.entries(usage.containers ?? {}).map(([kind, count]) => html`<dt key=${kind}>${kind.replace("_", " ")}s</dt><dd>${Number(count).toLocaleString("en")}</dd>`)}<dt>in the trash</dt><dd>${usage.trashed}</dd><dt>size</dt><dd>${size(usage.bytes)}</dd>`}</dl>
      ${loaded.error && html`<${Failure} error=${loaded.error} onRetry=${loaded.again} />`}</section>
    <section class="card card-body" aria-label="Keyboard"><h2>Keyboard</h2><dl class="keys">${KEY_MAP.map(([keys, does]) => html`<dt key=${keys}>${keys.split(" ").map((key) => html`<kbd key=${key}>${key}</kbd> `)}</dt><dd>${does}</dd>`)}</dl></section></div>
    <p class="faint">Made with Preact, htm and uPlot; their licences lie beside the pages in <code>vendor/LICENSES</code>.</p></div>`;
}
