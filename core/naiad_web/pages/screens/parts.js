/** The parts of a run below its tabs: fields, images, files, source code, logs and monitoring. */
import { html, useEffect, useMemo, useRef, useState } from "../lib/html.js";
import { change, go } from "../lib/place.js";
import { counted, size, visible } from "../lib/format.js";
import { source } from "../lib/source.js";
import { Button, Empty, Skeleton, useLoaded, waiting } from "../widgets/controls.js";
import { Tree } from "../widgets/lists.js";
import { FrameControls, ImageGrid, StepSlider, nearest } from "../widgets/images.js";
import { Diff, parsed } from "../widgets/code.js";
import { Board } from "./board.js";
import { FieldView, GitRef, RunLog, FileSet, FileView, contentUrl } from "./field.js";
import { brief, typed } from "./cells.js";

export function Fields({ run, fields, place, address, about, live, isLoading }) {
  const { params } = place;
  const [details, setDetails] = useState(/** @type {Map<string, any>} */ (new Map()));
  const asked = useRef(new Set());
  const open = useMemo(() => new Set(params.open), [params.open]);
  const inView = useRef(/** @type {string[]} */ ([]));
  const take = (answer) => setDetails((before) => new Map([...before, ...answer.fields.map((field) => [field.path, field])]));
  const want = async (paths) => {
    inView.current = paths;
    const missing = paths.filter((path) => !details.has(path) && !asked.current.has(path));
    const parents = [...new Set(missing.map((path) => path.slice(0, Math.max(0, path.lastIndexOf("/")))))];
    for (const path of missing) asked.current.add(path);
    await Promise.all(parents.map(async (prefix) => {
      const own = missing.filter((path) => path.slice(0, Math.max(0, path.lastIndexOf("/"))) === prefix);
      for (let offset = 0; offset < 20_000; offset += 1000) {
        const answer = await source.get(`${address}/tree`, { prefix, limit: 1000, offset }).catch(() => null);
        if (!answer) break;
        take(answer);
        if (!answer.fields.length || own.every((path) => answer.fields.some((field) => field.path === path)) || offset + 1000 >= answer.total) break;
      }
    }));
  };
  useEffect(() => {
    const changed = [...live.versions.keys()].filter((path) => details.has(path));
    if (!changed.length) return;
    for (const path of changed) asked.current.delete(path);
    setDetails((before) => new Map([...before].filter(([path]) => !changed.includes(path))));
    want(inView.current);
  }, [live.versions]);
  const kindName = (kind) => typed(kind, about.kinds?.[kind]?.type ?? kind);
  const value = (leaf) => brief(details.get(leaf.path));
  if (isLoading) return html`<${Skeleton} lines=${10} />`;
  return html`<div class=${params.path ? "split" : "split-none"} style=${params.path ? undefined : { display: "flex", flex: 1, minHeight: 0, flexDirection: "column" }}>
    <${Tree} label="Fields" leaves=${fields} value=${value} selected=${params.path} onSelect=${(leaf) => change({ path: leaf.path, entry: "" })} open=${open} onOpen=${(next) => change({ open: [...next] }, { replace: true })}
      find=${params.find} onFind=${(find) => change({ find }, { replace: true })} onRange=${want} kindName=${kindName} />
    ${params.path && html`<div class="side"><${Button} kind="quiet" onClick=${() => change({ path: "" })}>✕ Close</${Button}><${FieldView} run=${run} path=${params.path} place=${place} version=${live.versions.get(params.path) ?? 0} /></div>`}</div>`;
}

/** Images of a run by name, at one step for all. */
export function Images({ run, fields, place, address, live }) {
  const { params } = place;
  const version = fields.filter((field) => field.kind === "file_series").reduce((sum, field) => sum + (live.versions.get(field.path) ?? 0), 0);
  const loaded = useLoaded((signal) => source.get(`${address}/fields`, { kind: ["file_series", "file"], details: true, limit: 2000 }, signal), [run.uid, fields.length], version);
  const [frame, setFrame] = useState({ scale: 1, x: 0, y: 0 });
  const [width, setWidth] = useState(240);
  const isImage = (file) => file && (file.shown_as === "image" || file.shown_as === "svg");
  const series = (loaded.data?.fields ?? []).filter((field) => field.kind === "file_series" && isImage(field.last?.value) && (!params.find || field.path.includes(params.find)));
  const singles = (loaded.data?.fields ?? []).filter((field) => field.kind === "file" && isImage(field) && (!params.find || field.path.includes(params.find)));
  const key = series.map((field) => field.path).join("\u0000");
  const entries = useLoaded(async (signal) => new Map(await Promise.all(series.slice(0, 60).map(async (field) => [field.path, await source.get("/entries", { run: run.uid, path: field.path, limit: 5000 }, signal)]))), [run.uid, key], version);
  if (loaded.error || !loaded.data || series.length > 0 && !entries.data) return waiting(loaded, 6);
  const steps = [...new Set([...(entries.data?.values() ?? [])].flatMap((entry) => entry.steps.map(Number)))].sort((a, b) => a - b);
  const step = steps[nearest(steps, params.step)];
  if (!series.length && !singles.length) return html`<${Empty} title="No images">Log one for each step with run["samples"].append(image, step=step).</${Empty}>`;
  const isAll = params.mode === "steps";
  const pictures = series.flatMap((field) => {
    const entry = entries.data?.get(field.path);
    if (!entry) return [];
    const picked = isAll ? entry.steps.map((_, i) => i).slice(-40) : entry.steps.flatMap((s, i) => (Number(s) === step ? [i] : []));
    if (!picked.length) return [{ key: field.path, title: field.path, url: () => Promise.reject(new Error("none")), isMissing: true }];
    return picked.map((i) => ({ key: `${field.path} ${i}`, title: isAll ? `${field.path} · step ${entry.steps[i]}` : field.path, caption: [entry.files[i].name, entry.files[i].description].filter(Boolean).join(": "),
      url: () => contentUrl({ run: run.uid, path: field.path, index: entry.start + i }), path: field.path, step: Number(entry.steps[i]) }));
  });
  const single = singles.map((field) => ({ key: field.path, title: field.path, caption: field.description ?? "", url: () => contentUrl({ run: run.uid, path: field.path }), path: field.path }));
  const openOne = (picture) => go({ ...place, tab: "fields", params: { ...params, path: picture.path, step: picture.step ?? -1 } });
  return html`<div class="section"><div class="bar">
      <input class="input" type="search" placeholder="Name of images" aria-label="Name of images" value=${params.find} onInput=${(e) => change({ find: e.target.value }, { replace: true })} />
      ${steps.length > 0 && !isAll && html`<${StepSlider} steps=${steps} value=${step} onChange=${(next) => change({ step: next }, { replace: true })} />`}
      <label class="toggle"><input type="checkbox" checked=${isAll} onChange=${(e) => change({ mode: e.target.checked ? "steps" : "" })} /> <span>all steps</span></label><span class="grow"></span>
      <label class="toggle">size <input type="range" min="100" max="640" step="20" value=${width} aria-label="Size of images" onInput=${(e) => setWidth(+e.target.value)} /></label><${FrameControls} frame=${frame} onFrame=${setFrame} /></div>
    <${ImageGrid} pictures=${[...pictures, ...single]} size=${width} frame=${frame} onFrame=${setFrame} onOpen=${openOne} /></div>`;
}

export function Files({ run, fields, place, address }) {
  const { params } = place;
  const loaded = useLoaded((signal) => source.get(`${address}/fields`, { kind: ["file", "file_set", "file_series", "artifact"], details: true, limit: 2000 }, signal), [run.uid, fields.length]);
  if (loaded.error || !loaded.data) return waiting(loaded, 6);
  const all = loaded.data.fields.filter((field) => !params.find || field.path.toLowerCase().includes(params.find.toLowerCase()));
  if (!loaded.data.fields.length) return html`<${Empty} title="No files">Store one with run["model"].upload("model.pt").</${Empty}>`;
  const chosen = all.find((field) => field.path === params.path);
  return html`<div class=${chosen ? "split files chosen" : "split files"}><div class="section"><input class="input" type="search" placeholder=${`Search ${counted(loaded.data.total, "field")}`} aria-label="Search files" value=${params.find} onInput=${(e) => change({ find: e.target.value }, { replace: true })} />
    <ul class="list">${all.map((field) => html`<li key=${field.path}><button type="button" class="row" aria-current=${String(field.path === params.path)} onClick=${() => change({ path: field.path, entry: "" })}><span>${visible(field.path)}</span><span class="faint kind">${typed(field.kind, field.type)}</span><span>${brief(field)}</span></button></li>`)}</ul></div>
    <div class="side">${chosen ? html`<${FieldView} key=${chosen.path} run=${run} path=${chosen.path} place=${place} />` : html`<${Empty} title="Choose a file to see it" />`}</div></div>`;
}

export function Source({ run, place, address }) {
  const loaded = useLoaded((signal) => source.get(`${address}/source`, {}, signal), [run.uid]);
  if (loaded.error || !loaded.data) return waiting(loaded, 6);
  const { git, diffs, files, requirements, entrypoint } = loaded.data;
  if (!git && !files && !diffs?.length && !requirements) return html`<${Empty} title="No source code was stored">Store it with init_run(source_files=["*.py"]). In a Git repository the commit is recorded too.</${Empty}>`;
  return html`<div class="section">${entrypoint && html`<p>Started from <code>${visible(entrypoint)}</code></p>`}
    ${git && html`<div class="card card-body"><${GitRef} field=${git} /></div>`}
    ${(diffs ?? []).map((field) => html`<${Patch} key=${field.path} run=${run} field=${field} />`)}
    ${files && html`<h2>Files</h2>${files.kind === "file_set" ? html`<${FileSet} run=${run.uid} path=${files.path} entry=${place.params.entry} onEntry=${(entry) => change({ entry })} />` : html`<${FileView} address=${{ run: run.uid, path: files.path }} file=${files} />`}`}
    ${requirements && html`<h2>Packages</h2><${FileView} address=${{ run: run.uid, path: requirements.path }} file=${{ ...requirements, shown_as: "text" }} />`}</div>`;
}

function Patch({ run, field }) {
  const loaded = useLoaded(async (signal) => (await source.send("/file", { run: run.uid, path: field.path, as: "text" }, signal)).text(), [run.uid, field.path]);
  const files = useMemo(() => parsed(loaded.data ?? ""), [loaded.data]);
  if (loaded.error || loaded.data === undefined) return waiting(loaded, 5);
  return html`<h2>${field.path.endsWith("/diff") ? "Uncommitted changes" : visible(field.path.split("/").pop() ?? "")}</h2>${files.length ? files.map((file) => html`<${Diff} key=${file.name} name=${file.name} hunks=${file.hunks} left="commit" right="run" />`) : html`<p class="faint">No changes of text.</p>`}`;
}

export function Logs({ run, fields, place, live, isLoading }) {
  const { params } = place;
  const paths = fields.filter((field) => field.kind === "string_series").map((field) => field.path).sort((a, b) => Number(b.endsWith("/stdout")) - Number(a.endsWith("/stdout")) || Number(b.startsWith("monitoring/")) - Number(a.startsWith("monitoring/")));
  const path = paths.includes(params.path) ? params.path : paths[0];
  if (isLoading) return html`<${Skeleton} lines=${8} />`;
  if (!path) return html`<${Empty} title="No logs">This tab shows printed output and series of texts, such as run["notes"].append("text").</${Empty}>`;
  return html`<div class="section" style=${{ flex: 1, minHeight: 0 }}>
    <label class="bar">Series <select class="input" value=${path} onChange=${(e) => change({ path: e.target.value, line: -1 })}>${paths.map((one) => html`<option key=${one} value=${one}>${visible(one)}</option>`)}</select></label>
    <div style=${{ flex: 1, minHeight: 0, display: "flex", flexDirection: "column", paddingBottom: "10px" }} class="log-holder"><${RunLog} key=${path} run=${run} path=${path} place=${place} version=${live.versions.get(path) ?? 0} /></div></div>`;
}

/** Hardware and console of each process, on one clock. */
export function Monitoring({ run, place, address, live, fields }) {
  const loaded = useLoaded((signal) => source.get(`${address}/monitoring`, {}, signal), [run.uid, fields.length]);
  const [point, setPoint] = useState(/** @type {number|null} */ (null));
  const runs = useMemo(() => [{ id: run.id, uid: run.uid, label: run.name || run.id }], [run.uid]);
  if (loaded.error || !loaded.data) return waiting(loaded, 6);
  const { processes } = loaded.data;
  if (!processes.length) return html`<${Empty} title="Nothing was captured">A run captures hardware and printed output unless capture_hardware_metrics, capture_stdout and capture_stderr are off.</${Empty}>`;
  const at = { ...place.params, x: "time", m: "" };
  return html`<div class="section">${processes.map((process) => html`<section key=${process.namespace} class="section" aria-label=${process.namespace}>
    <div class="bar"><h2>${visible(process.namespace)}</h2><span class="faint">${Object.entries(process.attributes ?? {}).map(([key, value]) => `${key} ${visible(value)}`).join(" · ")}</span></div>
    ${process.series.length > 0 && html`<${Board} runs=${runs} paths=${process.series.map((field) => field.path)} params=${at} versions=${live.versions} isLive=${run.state === "running"} point=${point} height=${140} />`}
    ${[...(process.lines ?? [])].sort((a, b) => Number(b.path.endsWith("/stdout")) - Number(a.path.endsWith("/stdout"))).map((field) => field.count === 0
      ? html`<p key=${field.path} class="faint">${visible(field.path.split("/").pop() ?? "")}: nothing was printed</p>` : html`<div key=${field.path}><h3>${visible(field.path.split("/").pop() ?? "")}</h3><${RunLog} run=${run} path=${field.path} place=${{ ...place, params: { ...place.params, find: "", line: place.params.path === field.path ? place.params.line : -1 } }} height=${220} version=${live.versions.get(field.path) ?? 0}
      onLine=${(line, value) => { change({ path: field.path, line }, { replace: true }); if (value?.time !== undefined) setPoint(value.time); }} /></div>`)}
  </section>`)}</div>`;
}
