/** One run: header, a traceback in front if it failed, and a tab for each way to look at it. */
import { html, useEffect, useMemo, useRef, useState } from "../lib/html.js";
import { change, go, href } from "../lib/place.js";
import { HUES, choose, hue } from "../lib/color.js";
import { useKeys } from "../lib/keys.js";
import { counted, duration, moment, size, visible } from "../lib/format.js";
import { source } from "../lib/source.js";
import { Button, Copy, Empty, Failure, Menu, Popover, Skeleton, Tabs, State, Swatch, Tag, copied, later, useLoaded, waiting } from "../widgets/controls.js";
import { Board, useLive } from "./board.js";
import { shown } from "./cells.js";
import { EditRuns, Toast, useToast } from "./shell.js";

const TABS = [["", "Overview"], ["charts", "Charts"], ["fields", "Fields"], ["images", "Images"], ["files", "Files"], ["source", "Source"], ["logs", "Logs"], ["monitoring", "Monitoring"]];

/** Tags in the header; hundreds of them would leave no room for what they are on. */
const MOST_TAGS = 30;

// An overview and charts need none of their widgets, which are a third of all.
const [Fields, Images, Files, Source, Logs, Monitoring] = ["Fields", "Images", "Files", "Source", "Logs", "Monitoring"].map((name) => later(() => import("./parts.js"), name));

/** @param {{place: any, about: any}} props */
export function Run({ place, about }) {
  const { id, project, tab, params } = place;
  const address = `/containers/${encodeURIComponent(id)}`;
  const head = useLoaded((signal) => source.get(address, {}, signal), [id]);
  const fields = useLoaded((signal) => source.get(`${address}/fields`, { limit: 200_000 }, signal), [id]);
  const [isEditing, setEditing] = useState(false);
  const [toast, say] = useToast();
  const [alive, setAlive] = useState(/** @type {any} */ (null));
  const run = head.data;
  const watched = useMemo(() => (run ? [{ id: run.id, uid: run.uid, label: run.name || run.id }] : []), [run?.uid, run?.name]);
  const known = useRef(new Set());
  useEffect(() => {
    known.current = new Set(fields.data?.fields.map((field) => field.path));
  }, [fields.data]);
  const live = useLive(watched, "", (event, data) => {
    if (event === "fields") {
      setAlive({ state: data.state, age: data.seen_age });
      if ([...Object.keys(data.grown ?? {}), ...(data.changed ?? [])].some((path) => !known.current.has(path)) || data.removed?.length) fields.again();
      if (data.state !== run?.state || (data.changed ?? []).some((path) => path.startsWith("sys/") || path.endsWith("/traceback"))) head.again();
    } else if (event === "runs" && data.changed.some((item) => item.uid === run?.uid && item.state !== run?.state)) head.again();
  });
  const neighbours = useLoaded(async (signal) => (await source.get("/table", { kind: "run", project, column: ["sys/id"], limit: 2000 }, signal)).ids, [project]);
  const step = (by) => {
    const ids = neighbours.data ?? [];
    const to = ids[ids.indexOf(id) + by];
    if (to) go({ ...place, id: to, params: { ...params, zooms: {}, zoom: null, line: -1 } });
  };
  useKeys({ "]": () => step(1), "[": () => step(-1), l: () => go({ ...place, tab: "logs" }) });
  if (!run) return html`<div class="page">${waiting(head, 8)}</div>`;
  if (run.id !== id && run.uid !== id) return html`<div class="page"><${Skeleton} lines=${8} /></div>`;
  const all = fields.data?.fields ?? [];
  const context = { run, fields: all, place, address, live, about, isLoading: !fields.data };
  const Body = { "": Overview, charts: Charts, fields: Fields, images: Images, files: Files, source: Source, logs: Logs, monitoring: Monitoring }[tab];
  const isFixed = ["fields", "logs"].includes(tab);
  return html`<div class=${isFixed ? "page fixed" : "page"}>
    <${Header} run=${{ ...run, ...(alive?.state ? { state: alive.state, seen_age: alive.age } : {}) }} place=${place} onEdit=${() => setEditing(true)} isLost=${live.isLost} onChanged=${head.again} say=${say} />
    ${params.full ? "" : html`<${Troubles} run=${run} isOpen=${tab === ""} />`}
    <${Tabs} label="Parts of the run" tabs=${TABS} tab=${tab} to=${(key) => href({ ...place, tab: key, params: { ...params, path: "", find: "", line: -1, entry: "" } })} />
    ${fields.error && html`<${Failure} error=${fields.error} onRetry=${fields.again} />`}
    ${Body ? html`<${Body} ...${context} />` : html`<${Empty} title="A run has no tab of this name" />`}
    ${isEditing && html`<${EditRuns} ids=${[run.id]} facts=${run} onClose=${() => setEditing(false)} onDone=${(text) => { setEditing(false); head.again(); say({ text }); }} />`}
    <${Toast} toast=${toast} onClose=${() => say(null)} /></div>`;
}

/** The name of a run, which a click makes a field with --edit. Enter or leaving the field keeps what it holds, Escape does not. @param {any} props */
function Name({ run, onChanged, say }) {
  const [isOpen, setOpen] = useState(false);
  const field = useRef(/** @type {HTMLInputElement|null} */ (null));
  const isDropped = useRef(false); // a field that is taken away is left too
  useEffect(() => {
    if (isOpen) field.current?.select();
  }, [isOpen]);
  const keep = async () => {
    const name = (field.current?.value ?? "").trim();
    setOpen(false);
    if (isDropped.current || name === run.name) return;
    try {
      await source.change("PATCH", `/containers/${encodeURIComponent(run.id)}`, { name });
      onChanged();
    } catch (failure) {
      say({ text: failure.message });
    }
  };
  const onKeyDown = (event) => {
    if (event.key === "Enter") event.target.blur();
    if (event.key !== "Escape") return;
    event.stopPropagation();
    isDropped.current = true;
    setOpen(false);
  };
  const shownName = html`<bdi>${visible(run.name || run.id)}</bdi>`;
  if (!source.isEditable) return html`<h1>${shownName}</h1>`;
  if (!isOpen) return html`<h1><button type="button" class="name" title="Change the name" onClick=${() => { isDropped.current = false; setOpen(true); }}>${shownName}</button></h1>`;
  return html`<h1><input class="input" ref=${field} aria-label="Name of the run" size="32" defaultValue=${run.name} onBlur=${keep} onKeyDown=${onKeyDown} /></h1>`;
}

function Header({ run, place, onEdit, isLost, onChanged, say }) {
  const since = useRef(Date.now());
  // Not the one of the table, which leaves out files: adding them up may take a moment.
  const stored = useLoaded((signal) => source.get(`/containers/${encodeURIComponent(run.uid)}/value`, { path: "sys/size" }, signal), [run.uid, run.state]);
  const [, tick] = useState(0);
  useEffect(() => {
    since.current = Date.now();
  }, [run.seen_age]);
  useEffect(() => {
    if (run.state !== "running") return undefined;
    const timer = setInterval(() => tick((n) => n + 1), 1000);
    return () => clearInterval(timer);
  }, [run.state]);
  const age = run.seen_age === null ? undefined : run.seen_age + (Date.now() - since.current) / 1000;
  const created = new Date(run.created), tags = [...run.tags, ...run.group_tags];
  return html`<header class="run-head">
    <div class="bar"><a class="faint" href=${href({ screen: "runs", project: place.project })}>Runs</a><span class="faint">/</span><${Popover} label=${html`<${Swatch} id=${run.id} />`} title="Colour of the run" kind="quiet swatch-button">${(close) => html`<${Colors} id=${run.id} onDone=${close} />`}</${Popover}>
      <${Name} run=${run} onChanged=${onChanged} say=${say} />${run.name && run.name !== run.id && html`<span class="faint">${run.id}</span>`}<span class="grow"></span>
      ${isLost && html`<span class="badge">not live</span>`}
      <${Button} kind="quiet" title="Compare with others (c)" onClick=${() => go({ screen: "runs", project: place.project, params: { runs: [run.id] } })}>Compare…</${Button}>
      ${source.isEditable && html`<${Button} onClick=${onEdit}>Edit…</${Button}>`}
      <${Menu} label="⋯" title="More about this run" items=${[
        { text: "Copy as Python", run: () => copied(`import naiad\n\nrun = naiad.init_run(with_id=${JSON.stringify(run.id)}, mode="read-only")\n`) },
        { text: "Copy to resume it", run: () => copied(`import naiad\n\nrun = naiad.init_run(with_id=${JSON.stringify(run.id)})\n`) },
        { text: "Copy id", run: () => copied(run.id) }, { text: "Copy link", run: () => copied(location.href) }]} /></div>
    <div class="line"><${State} state=${run.state} age=${age} />${run.is_failed && run.state !== "failed" && html`<span class="bad-text">marked as failed</span>`}
      <span>${duration(run.running_time)}</span><span title=${run.created}>started ${moment(created)}</span>${run.owner && html`<span>by <bdi>${visible(run.owner)}</bdi>${run.hostname && html` on <bdi>${visible(run.hostname)}</bdi>`}</span>`}
      ${stored.data?.value ? html`<span title="Everything stored for this run, files included">${size(stored.data.value)}</span>` : ""}${run.is_trashed && html`<span class="badge">in the trash</span>`}${run.is_protected && html`<span class="badge">protected</span>`}
      ${run.parent && html`<span>child of <a href=${href({ ...place, id: run.parent.uid })}>${visible(run.parent.id)}</a></span>`}
      ${run.children > 0 && html`<a href=${href({ screen: "runs", project: place.project, params: { q: `sys/parent_uid = "${run.uid}"` } })}>${counted(run.children, "child", "children")}</a>`}
      <span class="tags">${tags.slice(0, MOST_TAGS).map((tag) => html`<${Tag} key=${tag} text=${tag} />`)}${tags.length > MOST_TAGS && html`<a class="faint" href=${href({ ...place, tab: "fields", params: { path: "sys/tags" } })}>and ${tags.length - MOST_TAGS} more</a>`}</span></div>
    ${run.description && html`<p class="description" tabindex="0" role="group" aria-label="Description">${visible(run.description)}</p>`}
  </header>`;
}

/** The colours to choose from. @param {{id: string, onDone: () => void}} props */
const Colors = ({ id, onDone }) => html`<div class="section"><div class="swatches" role="group" aria-label="Colours">${Array.from({ length: HUES }, (_, i) => html`<button key=${i} type="button" class="button quiet" aria-label=${`Colour ${i + 1}`}
    aria-pressed=${String(hue(id) === i)} onClick=${() => { onDone(); choose(id, i); }}><span class="swatch" style=${{ color: `var(--run-${i})` }}></span></button>`)}</div>
  <${Button} kind="quiet" onClick=${() => { onDone(); choose(id, null); }}>By its id again</${Button}></div>`;

/** What went wrong: damage, losses, and the traceback, which is open on the overview and has its last line on each tab. */
function Troubles({ run, isOpen }) {
  const [first] = run.tracebacks ?? [];
  const trace = useLoaded(async (signal) => (first ? (await source.get("/lines", { run: run.uid, path: first, limit: 10_000 }, signal)).texts.join("\n") : ""), [run.uid, first]);
  return html`${(run.damages ?? []).length > 0 && html`<div class="failure" role="alert"><div><p class="strong">A part of this run is damaged; the rest is as it was written.</p>
      ${run.damages.slice(0, 5).map((damage, i) => html`<p key=${i}>${visible([damage.path, damage.file, damage.what].filter(Boolean).join(": "))}</p>`)}</div></div>`}
    ${run.lost > 0 && html`<div class="failure" role="alert"><p>${counted(run.lost, "point or change", "points and changes")} could not be stored while this run was written.</p></div>`}
    ${(run.shadowed ?? []).length > 0 && html`<div class="notice">${run.shadowed.map((one) => `${visible(one.path)} was also written as ${one.kind}; the ${one.by_kind} is shown.`).join(" ")}</div>`}
    ${first && html`<details class="traceback" open=${isOpen && (run.is_failed || run.state === "failed")}><summary>Traceback${trace.data ? html` <span class="mono">${visible(lastLine(trace.data))}</span>` : ""}</summary>
      ${trace.error || trace.data === undefined ? waiting(trace, 4) : html`<pre tabindex="0">${visible(trace.data)}</pre>`}
      <div class="bar" style=${{ padding: "4px 8px" }}><${Copy} text=${() => trace.data ?? ""} label="Copy traceback">Copy traceback</${Copy}></div></details>`}
`;
}

const lastLine = (text) => text.trimEnd().split("\n").pop() ?? "";

const metrics = (fields, isAll) => fields.filter((field) => field.kind === "float_series" && (isAll || !field.path.startsWith("monitoring/"))).map((field) => field.path);

function Overview({ run, fields, place, address, live, isLoading }) {
  const values = useLoaded((signal) => source.get(`${address}/attributes`, {}, signal), [run.uid], [...live.versions].filter(([path]) => !path.startsWith("monitoring/")).length > 0 ? run.modified : "");
  const paths = useMemo(() => metrics(fields, false), [fields]);
  const runs = useMemo(() => [{ id: run.id, uid: run.uid, label: run.name || run.id }], [run.uid]);
  const rows = Object.entries(values.data?.attributes ?? {}).filter(([path]) => !/^(sys|monitoring|source_code)\//.test(path));
  const groups = new Map();
  for (const [path, value] of rows) {
    const name = path.includes("/") ? path.slice(0, path.lastIndexOf("/")) : "";
    groups.set(name, [...(groups.get(name) ?? []), [path.slice(name ? name.length + 1 : 0), value, path]]);
  }
  if (isLoading || !values.data && !values.error) return html`<${Skeleton} lines=${8} />`;
  return html`<div class=${paths.length ? "overview" : ""}>
    <div class=${paths.length ? "section" : "columns-2"}>${values.error && html`<${Failure} error=${values.error} onRetry=${values.again} />`}
      ${rows.length === 0 && html`<${Empty} title="No parameters"><p>Log one with run["params/lr"] = 0.01.</p><${Elsewhere} fields=${fields} place=${place} /></${Empty}>`}
      ${[...groups].slice(0, 60).map(([name, items]) => html`<section key=${name} class="card" aria-label=${name || "Values"}><div class="card-head"><h3>${visible(name || "values")}</h3></div>
        <dl class="facts card-body">${items.slice(0, 100).map(([key, [kind, value], path]) => html`<dt key=${path}><a class="plain-link" href=${href({ ...place, tab: "fields", params: { ...place.params, path } })}>${visible(key)}</a></dt><dd>${shown(value, kind, path)}</dd>`)}</dl>
        ${items.length > 100 && html`<p class="faint card-body">and ${items.length - 100} more in Fields</p>`}</section>`)}
      ${groups.size > 60 && html`<p class="faint">and ${counted(groups.size - 60, "more namespace")} in Fields</p>`}</div>
    ${paths.length > 0 && html`<${Board} runs=${runs} paths=${paths} params=${place.params} versions=${live.versions} isLive=${run.state === "running"} />`}</div>`;
}

const ELSEWHERE = /** @type {[string, string, string[]][]} */ ([["files", "file", ["file", "file_set", "artifact"]], ["files", "series of files", ["file_series"]], ["logs", "series of texts", ["string_series"]]]);

/** What a run without parameters has under other tabs. @param {{fields: any[], place: any}} props */
const Elsewhere = ({ fields, place }) => html`<p>${ELSEWHERE.map(([tab, noun, kinds]) => {
  const count = fields.filter((field) => kinds.includes(field.kind) && !/^(monitoring|source_code)\//.test(field.path)).length;
  return count > 0 && html`<a key=${noun} href=${href({ ...place, tab })}>${counted(count, noun, noun === "file" ? "files" : noun)}</a> `;
})}</p>`;

function Charts({ run, fields, place, live, isLoading }) {
  const paths = useMemo(() => metrics(fields, true), [fields]);
  const runs = useMemo(() => [{ id: run.id, uid: run.uid, label: run.name || run.id }], [run.uid]);
  if (isLoading) return html`<${Skeleton} lines=${8} />`;
  return html`<${Board} runs=${runs} paths=${paths} params=${place.params} versions=${live.versions} isLive=${run.state === "running"} />`;
}
