/** Runs beside each other: fields, charts, parallel coordinates, scatter, images, code and artifacts. */
import { html, useEffect, useMemo, useRef, useState } from "../lib/html.js";
import { change, go, href } from "../lib/place.js";
import { useKeys } from "../lib/keys.js";
import { color } from "../lib/color.js";
import { counted, short, size, visible } from "../lib/format.js";
import { source } from "../lib/source.js";
import { Button, Choice, Empty, Failure, FieldSelect, Path, Popover, Skeleton, Swatch, Toggle, useLoaded } from "../widgets/controls.js";
import { Table, nextSort } from "../widgets/lists.js";
import { Parallel, Scatter, wantsLog } from "../widgets/spread.js";
import { FrameControls, ImageGrid, StepSlider, Swipe, nearest } from "../widgets/images.js";
import { Diff } from "../widgets/code.js";
import { likely } from "../lib/rows.js";
import { Board, useLive } from "./board.js";
import { contentUrl } from "./field.js";
import { shown } from "./cells.js";

const TABS = [["", "Side by side"], ["charts", "Charts"], ["parallel", "Parallel coordinates"], ["scatter", "Scatter"], ["images", "Images"], ["code", "Code and packages"], ["artifacts", "Artifacts"]];
const MOST = 100;

/** Where a run, or a version of a model, is shown. */
const addressOf = (run, project, kind) => (kind === "run" ? { screen: "run", project: run.project || project, id: run.id }
  : { screen: "model", project: run.project || project, id: run.id.slice(0, run.id.lastIndexOf("-")), tab: run.id });

/** @param {{place: any, about: any}} props */
export function Compare({ place }) {
  const { project, tab, params } = place;
  const { kind } = params;
  const key = params.runs.join("\u0000");
  const isSpread = tab === "parallel" || tab === "scatter";
  const found = useLoaded(async (signal) => (params.runs.length || isSpread
    ? source.get("/table", { kind, project: params.runs.length ? undefined : project, id: params.runs.slice(0, 200), trashed: "all", column: ["sys/id", "sys/name", "sys/state"], limit: params.runs.length ? 200 : 500 }, signal)
    : { ids: [], uids: [], projects: [], columns: [] }), [key, kind, isSpread, project]);
  const runs = useMemo(() => {
    const { ids = [], uids = [], projects = [], columns = [] } = found.data ?? {};
    const value = (name, i) => columns.find((column) => column.name === name)?.values[i];
    const all = ids.map((id, i) => ({ id, uid: uids[i], project: projects[i], label: value("sys/name", i) || id, state: value("sys/state", i) }));
    return params.runs.length ? [...all].sort((a, b) => params.runs.indexOf(a.id) - params.runs.indexOf(b.id)) : all;
  }, [found.data, key]);
  // Asked for by ids beside the table of them, not after it; of a run that is gone the answer is an error, and Charts asks anew.
  const early = useMemo(() => (tab === "charts" && params.runs.length > 1 ? source.get("/compare", { run: params.runs.slice(0, MOST) }).catch(() => null) : null), [tab, key]);
  const Body = { "": SideBySide, charts: Charts, parallel: Coordinates, scatter: Dots, images: Images, code: Code, artifacts: Artifacts }[tab];
  const remove = (id) => change({ runs: params.runs.filter((other) => other !== id), ref: params.ref === id ? "" : params.ref });
  if (params.full && tab === "charts" && found.data) return html`<div class="page"><${Charts} runs=${runs} place=${place} /></div>`;
  return html`<div class=${tab === "" ? "page fixed" : "page"}>
    <div class="page-head"><h1>Compare</h1><span class="faint" aria-live="polite">${!found.data ? "…" : isSpread && !params.runs.length ? (runs.length < 500 ? `all ${counted(runs.length, "run")} of the project` : "500 runs of the project") : counted(runs.length, kind === "run" ? "run" : "version")}</span><span class="grow"></span>${kind === "run" && html`<a class="button" href=${href({ screen: "runs", project, params: { runs: params.runs } })}>Choose runs</a>`}</div>
    ${params.runs.length > 0 && params.runs.length <= 16 && html`<div class="tags" role="group" aria-label="Compared runs">${runs.map((run) => html`<span key=${run.uid} class="tag" style=${{ maxWidth: "260px" }}><${Swatch} id=${run.id} /> <a href=${href(addressOf(run, project, kind))} style=${{ padding: "0 4px" }}>${visible(run.label)}</a>
      ${params.runs.length > 1 && html`<button type="button" class="remove" aria-label=${`Remove ${run.id}`} onClick=${() => remove(run.id)}>×</button>`}</span>`)}</div>`}
    <nav class="tabs" aria-label="Ways to compare">${TABS.map(([name, text]) => html`<a key=${name} href=${href({ ...place, tab: name, params: { ...params, full: "" } })} aria-current=${tab === name ? "page" : undefined}>${text}</a>`)}</nav>
    ${found.error ? html`<${Failure} error=${found.error} onRetry=${found.again} />` : !found.data ? html`<${Skeleton} lines=${8} />`
      : runs.length === 0 ? html`<${Empty} title="No runs are chosen"><p>Select runs in the table with <kbd>x</kbd>, then press <kbd>c</kbd>.</p></${Empty}>`
      : Body ? html`<${Body} runs=${runs} place=${place} early=${early} />` : html`<${Empty} title="There is no such comparison" />`}
  </div>`;
}

function SideBySide({ runs, place }) {
  const { params } = place;
  const [wide, setWide] = useState(/** @type {Record<string, number>} */ ({}));
  const ids = runs.slice(0, MOST).map((run) => run.uid);
  const loaded = useLoaded((signal) => (ids.length > 1 ? source.get("/compare", { run: ids, differs: params.diff || undefined }, signal) : source.get("/compare", { run: [ids[0], ids[0]] }, signal)), [ids.join(), params.diff]);
  useKeys({ d: () => change({ diff: !params.diff }) });
  const rows = useMemo(() => {
    const words = params.find.toLowerCase().split(/\s+/).filter(Boolean);
    const list = (loaded.data?.fields ?? []).filter((row) => words.every((word) => row.path.toLowerCase().includes(word)) && !(row.path.startsWith("monitoring/") && !params.find));
    const rank = (row) => (row.path.startsWith("sys/") ? 1 : 0); // what a user logged stands before what naiad did
    list.sort((a, b) => rank(a) - rank(b));
    const [order] = params.sort;
    if (order === "spread" || order === "-spread") list.sort((a, b) => (relative(b) - relative(a)) * (order === "spread" ? -1 : 1));
    if (order === "-path") list.reverse();
    return list;
  }, [loaded.data, params.find, params.sort]);
  if (loaded.error) return html`<${Failure} error=${loaded.error} onRetry=${loaded.again} />`;
  if (!loaded.data) return html`<${Skeleton} lines=${10} />`;
  const shownRuns = runs.slice(0, MOST);
  const reference = Math.max(-1, shownRuns.findIndex((run) => run.id === params.ref));
  const sort = (params.sort.length ? params.sort : ["path"]).map((text) => ({ key: text.replace(/^-/, ""), desc: text.startsWith("-") })).filter((item) => ["path", "spread"].includes(item.key));
  const columns = [{ key: "path", title: "field", width: wide.path ?? 260, pinned: true, fixed: true }, { key: "spread", title: "spread", width: wide.spread ?? 80, align: /** @type {"end"} */ ("end"), hint: "Largest minus smallest value", fixed: true },
    ...shownRuns.map((run, i) => ({ key: run.uid, title: `${i === reference ? "★ " : ""}${run.label}`, hint: run.id, width: wide[run.uid] ?? 150, sortable: false }))];
  const cell = (row, column) => {
    if (column.key === "path") return html`<${Path} path=${row.path} />`;
    if (column.key === "spread") return row.spread === null || row.spread === undefined ? row.differs ? html`<span class="faint">≠</span>` : "" : short(Number(row.spread));
    const at = shownRuns.findIndex((run) => run.uid === column.key);
    const value = row.values[at];
    const kind = row.kinds.length === 1 ? row.kinds[0] : null;
    const base = reference >= 0 && reference !== at ? row.values[reference] : null;
    const delta = typeof value === "number" && typeof base === "number" ? value - base : null;
    return html`${shown(value, kind, row.path, { present: row.present?.[at], isExact: row.differs }) || html`<span class="faint" title="not in this one">–</span>`}${delta !== null && delta !== 0 && html`<span class=${`delta ${delta > 0 ? "up" : "down"}`}>${delta > 0 ? "+" : ""}${short(delta)}</span>`}`;
  };
  return html`<div class="bar"><input class="input" type="search" placeholder=${`Search ${counted(loaded.data.fields.length, "field")}`} aria-label="Search fields" value=${params.find} onInput=${(e) => change({ find: e.target.value }, { replace: true })} />
      <${Toggle} on=${params.diff} onChange=${(diff) => change({ diff })}>differences only</${Toggle}>
      <label class="toggle">reference <select class="input" value=${params.ref} onChange=${(e) => change({ ref: e.target.value })}><option value="">none</option>${shownRuns.map((run) => html`<option key=${run.id} value=${run.id}>${visible(run.label)}</option>`)}</select></label>
      <span class="grow"></span><span class="faint" aria-live="polite">${counted(rows.length, "row")}${runs.length > MOST ? `; the first ${MOST} runs` : ""}</span></div>
    ${rows.length === 0 ? html`<${Empty} title=${params.diff ? "These runs do not differ" : "No field has this name"} />` : html`
    <div class="compare-table" style=${{ display: "flex", flex: 1, minHeight: 0 }}><${Table} label="Fields of the compared runs" columns=${columns} count=${rows.length} row=${(i) => rows[i]} rowKey=${(row) => row.path} cell=${cell}
      sort=${sort} onSort=${(key) => change({ sort: nextSort(sort, key, false).map(({ key: k, desc }) => (desc ? `-${k}` : k)) })} rowClass=${(row) => (row.differs ? "" : "same")}
      onColumns=${(next) => setWide(Object.fromEntries(next.map((c) => [c.key, c.width])))} onOpen=${(row) => row.kinds.includes("float_series") && go({ ...place, tab: "charts", params: { ...params, full: row.path } })} /></div>`}`;
}

/** Spread of a row relative to its size, so that small and large numbers are ordered together. */
function relative(row) {
  if (row.spread === null || row.spread === undefined) return row.differs ? -0.5 : -1;
  const most = Math.max(...row.values.map((value) => (typeof value === "number" ? Math.abs(value) : 0)), 1e-300);
  return Number(row.spread) / most;
}

function Charts({ runs, place, early }) {
  const { params } = place;
  const there = useLoaded(async (signal) => (await early) ?? source.get("/compare", { run: runs.length > 1 ? runs.slice(0, MOST).map((run) => run.uid) : [runs[0].uid, runs[0].uid] }, signal), [runs.map((run) => run.uid).join()]);
  const paths = useMemo(() => (there.data?.fields ?? []).filter((row) => row.kinds.includes("float_series")).map((row) => row.path), [there.data]);
  const live = useLive(runs, "");
  const [groups, setGroups] = useState(/** @type {any} */ (null));
  useEffect(() => {
    if (!params.band) return setGroups(null);
    let isGone = false;
    source.get("/table", { kind: params.kind, id: runs.map((run) => run.uid), trashed: "all", column: [params.band], limit: 200 }).then((answer) => {
      const found = new Map();
      answer.uids.forEach((uid, i) => {
        const name = String(answer.columns[0].values[i] ?? "none");
        found.set(name, [...(found.get(name) ?? []), uid]);
      });
      if (!isGone) setGroups([...found].map(([name, members]) => ({ name, runs: members })));
    }, () => undefined);
    return () => {
      isGone = true;
    };
  }, [params.band, runs]);
  if (there.error) return html`<${Failure} error=${there.error} onRetry=${there.again} />`;
  if (!there.data) return html`<${Skeleton} lines=${8} />`;
  // Of the compared runs' own fields: a project may have thousands that none of them has.
  const by = there.data.fields.filter((row) => row.kinds.some((kind) => ["string", "int", "float", "bool", "string_set"].includes(kind)) && !row.path.startsWith("monitoring/"))
    .sort((a, b) => Number(b.differs) - Number(a.differs));
  return html`<${Board} runs=${runs} paths=${paths} params=${params} versions=${live.versions} isLive=${runs.some((run) => run.state === "running")} groups=${params.band ? groups : null}
    extra=${html`<${FieldSelect} label="group by" value=${params.band} none="none" names=${by.map((row) => row.path)} onChange=${(band) => change({ band })} />`} />`;
}

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

function Coordinates({ runs, place }) {
  const { params, project } = place;
  const fields = useLikely(project, params.kind);
  const start = fields.data ?? { params: [], metrics: [], all: [] };
  const axes = params.axes.length ? params.axes : [...start.params.slice(0, 4), ...start.metrics.slice(0, 2)];
  const loaded = useAxes(runs, fields.data ? axes : [], params.kind);
  const [at, setAt] = useState(/** @type {string|null} */ (null));
  const items = useMemo(() => runs.map((run) => ({ id: run.id, label: run.label, color: color(run.id) })), [runs]);
  if (fields.error || loaded.error) return html`<${Failure} error=${fields.error ?? loaded.error} onRetry=${() => { fields.again(); loaded.again(); }} />`;
  if (!loaded.data || loaded.data.length !== axes.length || loaded.data[0]?.values.length !== runs.length) return html`<${Skeleton} lines=${8} />`;
  const one = runs.find((run) => run.id === at);
  return html`<div class="section"><div class="bar"><${AxisPicker} fields=${start.all} axes=${axes} />
      <span class="faint" aria-live="polite">${one ? html`<${Swatch} id=${one.id} /> ${visible(one.label)} ${loaded.data.map((axis) => `${axis.key.split("/").pop()} ${formatted(axis.values[runs.indexOf(one)])}`).join(" · ")}` : "Point at a line to read it; click it to open the run."}</span></div>
    <div class="card card-body"><${Parallel} items=${items} axes=${loaded.data} highlighted=${at} onHighlight=${setAt} onOpen=${(id) => go(addressOf({ id }, project, params.kind))}
      onMove=${(from, to) => { const next = [...axes]; const [moved] = next.splice(from, 1); next.splice(to, 0, moved); change({ axes: next }); }} /></div></div>`;
}

const formatted = (value) => (typeof value === "number" ? short(value) : value === null ? "–" : visible(String(value)).slice(0, 30));

function AxisPicker({ fields, axes }) {
  const [text, setText] = useState("");
  const list = fields.filter((field) => ["float", "int", "string", "bool", "float_series"].includes(field.kind)).flatMap((field) => (field.kind === "float_series" ? [field.path, `${field.path}:min`, `${field.path}:max`] : [field.path]))
    .filter((name) => name.toLowerCase().includes(text.toLowerCase()));
  return html`<${Popover} label="Axes" name="Axes"><div style=${{ width: "280px" }}><input class="input" style=${{ width: "100%" }} type="search" placeholder="Field" aria-label="Field for an axis" value=${text} onInput=${(e) => setText(e.target.value)} />
    <ul class="choices">${list.slice(0, 200).map((name) => html`<li key=${name}><${Toggle} on=${axes.includes(name)} onChange=${(on) => change({ axes: on ? [...axes, name] : axes.filter((axis) => axis !== name) })}>${visible(name)}</${Toggle}></li>`)}</ul></div></${Popover}>`;
}

function Dots({ runs, place }) {
  const { params, project } = place;
  const fields = useLikely(project, params.kind);
  const start = fields.data ?? { params: [], metrics: [], all: [] };
  const x = params.xf || start.params[0] || start.metrics[0] || "", y = params.yf || start.metrics[0] || start.params[1] || "";
  const loaded = useAxes(runs, x && y ? [...new Set([x, y])] : [], params.kind);
  const [at, setAt] = useState(/** @type {string|null} */ (null));
  const items = useMemo(() => runs.map((run) => ({ id: run.id, label: run.label, color: color(run.id) })), [runs]);
  if (fields.error || loaded.error) return html`<${Failure} error=${fields.error ?? loaded.error} onRetry=${() => { fields.again(); loaded.again(); }} />`;
  if (!fields.data || !loaded.data) return html`<${Skeleton} lines=${8} />`;
  const names = [...new Set([x, y, ...start.params, ...start.metrics.flatMap((path) => [path, `${path}:min`, `${path}:max`]), ...start.all.filter((field) => ["float", "int", "string", "bool", "float_series"].includes(field.kind)).map((field) => field.path)])].filter(Boolean);
  const choose = (name, value, label) => html`<${FieldSelect} label=${label} value=${value} names=${names} onChange=${(path) => change({ [name]: path })} />`;
  const one = (name) => loaded.data?.find((axis) => axis.key === name);
  const ready = one(x)?.values.length === runs.length && one(y);
  return html`<div class="section"><div class="bar">${choose("xf", x, "horizontal")}${choose("yf", y, "vertical")}<${Toggle} on=${params.logx} onChange=${(logx) => change({ logx })}>log horizontal</${Toggle}><${Toggle} on=${params.logy} onChange=${(logy) => change({ logy })}>log vertical</${Toggle}></div>
    ${!x || !y ? html`<${Empty} title="No numbers to compare" />` : !ready ? html`<${Skeleton} lines=${8} />` : html`<div class="card card-body"><${Scatter} items=${items} x=${one(x)} y=${one(y)} height=${440} logX=${params.logx || wantsLog(one(x)?.values ?? [])} logY=${params.logy}
      highlighted=${at} onHighlight=${setAt} onOpen=${(id) => go(addressOf({ id }, project, params.kind))} /></div>`}</div>`;
}

function Images({ runs, place }) {
  const { params } = place;
  const [frame, setFrame] = useState({ scale: 1, x: 0, y: 0 });
  const few = runs.slice(0, 24);
  const loaded = useLoaded(async (signal) => {
    const found = await Promise.all(few.map((run) => source.get(`/containers/${run.uid}/fields`, { kind: ["file_series"], details: true, limit: 500 }, signal).catch(() => ({ fields: [] }))));
    return found.map(({ fields }) => fields.filter((field) => ["image", "svg"].includes(field.last?.value?.shown_as)).map((field) => field.path));
  }, [few.map((run) => run.uid).join()]);
  const names = useMemo(() => [...new Set((loaded.data ?? []).flat())].sort(), [loaded.data]);
  const path = names.includes(params.path) ? params.path : names[0];
  const having = few.filter((_, i) => loaded.data?.[i]?.includes(path));
  const entries = useLoaded(async (signal) => (path ? new Map(await Promise.all(having.map(async (run) => [run.uid, await source.get("/entries", { run: run.uid, path, limit: 5000 }, signal)]))) : new Map()), [path, having.map((run) => run.uid).join()]);
  if (loaded.error || entries.error) return html`<${Failure} error=${loaded.error ?? entries.error} onRetry=${() => { loaded.again(); entries.again(); }} />`;
  if (!loaded.data || !entries.data) return html`<${Skeleton} lines=${6} />`;
  if (!names.length) return html`<${Empty} title="None of these runs has a series of images" />`;
  const steps = [...new Set([...entries.data.values()].flatMap((entry) => entry.steps.map(Number)))].sort((a, b) => a - b);
  const step = steps[nearest(steps, params.step)];
  const pictures = having.flatMap((run) => {
    const entry = entries.data?.get(run.uid);
    if (!entry) return [];
    const i = entry.steps.findIndex((s) => Number(s) === step);
    return [{ key: `${run.uid} ${i}`, title: run.label, color: color(run.id), caption: i < 0 ? "" : entry.files[i].description ?? "", isMissing: i < 0, url: () => contentUrl({ run: run.uid, path, index: entry.start + i }) }];
  });
  const there = pictures.filter((picture) => !picture.isMissing);
  return html`<div class="section"><div class="bar"><select class="input" aria-label="Images" value=${path} onChange=${(e) => change({ path: e.target.value })}>${names.map((name) => html`<option key=${name} value=${name}>${visible(name)}</option>`)}</select>
      <${StepSlider} steps=${steps} value=${step} onChange=${(next) => change({ step: next }, { replace: true })} /><span class="grow"></span>
      ${there.length === 2 && html`<${Choice} label="Arrangement" value=${params.mode} onChange=${(mode) => change({ mode })} options=${[["", "beside"], ["swipe", "swipe"], ["difference", "difference"]]} />`}<${FrameControls} frame=${frame} onFrame=${setFrame} /></div>
    ${having.length < few.length && html`<p class="faint">These runs have no images of this name: ${few.filter((run) => !having.includes(run)).map((run) => visible(run.label)).join(", ")}.</p>`}
    ${there.length === 2 && params.mode ? html`<${Swipe} left=${there[0]} right=${there[1]} mode=${params.mode} />` : html`<${ImageGrid} pictures=${pictures} size=${280} frame=${frame} onFrame=${setFrame} />`}</div>`;
}

/** Two of the runs, for what is compared in pairs. @param {any} props */
function Pair({ runs, params, children }) {
  const left = runs.find((run) => run.id === params.ref) ?? runs[0];
  const right = runs.find((run) => run.id === params.entry && run !== left) ?? runs.find((run) => run !== left);
  if (!right) return html`<${Empty} title="Choose a second run to see differences" />`;
  const choose = (name, value, label) => html`<label class="toggle">${label} <select class="input" value=${value.id} onChange=${(e) => change({ [name]: e.target.value })}>${runs.map((run) => html`<option key=${run.id} value=${run.id}>${visible(run.label)}</option>`)}</select></label>`;
  return html`<div class="section"><div class="bar">${choose("ref", left, "from")}${choose("entry", right, "to")}<${Button} kind="quiet" onClick=${() => change({ ref: right.id, entry: left.id })}>Swap</${Button}></div>${children(left, right)}</div>`;
}

const Code = ({ runs, place }) => html`<${Pair} runs=${runs} params=${place.params}>${(left, right) => html`<${CodePair} key=${`${left.uid} ${right.uid}`} left=${left} right=${right} />`}</${Pair}>`;

function CodePair({ left, right }) {
  const loaded = useLoaded(async (signal) => {
    const [a, b] = await Promise.all([left, right].map((run) => source.get(`/containers/${run.uid}/source`, {}, signal)));
    const paths = ["files", "requirements"].flatMap((name) => [a[name]?.path ?? b[name]?.path]).filter(Boolean);
    return { a, b, diffs: await Promise.all(paths.map(async (path) => ({ path, diff: await source.get("/diff", { left: left.uid, right: right.uid, left_path: path }, signal).catch((error) => ({ error })) }))) };
  }, [left.uid, right.uid]);
  if (loaded.error) return html`<${Failure} error=${loaded.error} onRetry=${loaded.again} />`;
  if (!loaded.data) return html`<${Skeleton} lines=${6} />`;
  const { a, b, diffs } = loaded.data;
  if (!diffs.length && !a.git && !b.git) return html`<${Empty} title="Neither run has source code" />`;
  return html`${(a.git || b.git) && html`<dl class="facts"><dt>commit</dt><dd class="mono">${a.git?.commit_id ?? "none"} → ${b.git?.commit_id ?? "none"}${a.git?.commit_id === b.git?.commit_id ? " (the same)" : ""}</dd><dt>branch</dt><dd>${visible(a.git?.branch ?? "–")} → ${visible(b.git?.branch ?? "–")}</dd></dl>`}
    ${diffs.map(({ path, diff }) => html`<${Difference} key=${path} path=${path} diff=${diff} left=${left} right=${right} />`)}`;
}

/** @param {any} props */
function Difference({ path, diff, left, right }) {
  if (diff.error) return html`<${Failure} error=${diff.error} />`;
  if (diff.form === "text") return html`<${Diff} name=${path} hunks=${diff.hunks} left=${left.label} right=${right.label} />`;
  if (diff.form === "binary") return html`<p>${visible(path)}: ${diff.is_equal ? "the same content" : `different content, ${size(diff.sizes[0])} and ${size(diff.sizes[1])}`}</p>`;
  const { added, removed, changed, same } = diff;
  return html`<section class="section" aria-label=${path}><div class="bar"><h2>${visible(path)}</h2><span class="good-text">${added.length} added</span><span class="bad-text">${removed.length} removed</span><span>${changed.length} changed</span><span class="faint">${same} the same</span></div>
    ${added.length + removed.length + changed.length === 0 && html`<${Empty} title="No differences" />`}
    <ul class="list">${[...removed.map((file) => ["−", file]), ...added.map((file) => ["+", file])].map(([sign, file]) => html`<li key=${sign + file.name} class="bar" style=${{ padding: "2px 10px" }}><span class=${sign === "+" ? "good-text" : "bad-text"}>${sign}</span><span class="mono grow">${visible(file.name)}</span><span class="faint">${size(file.size)}</span></li>`)}</ul>
    ${changed.slice(0, 50).map((file) => html`<${Changed} key=${file.name} file=${file} path=${path} left=${left} right=${right} />`)}</section>`;
}

/** One changed file; its lines are compared when it comes into view. */
function Changed({ file, path, left, right }) {
  const box = useRef(null);
  const [isSeen, setSeen] = useState(false);
  useEffect(() => {
    const observer = new IntersectionObserver((entries) => entries.some((e) => e.isIntersecting) && setSeen(true), { rootMargin: "300px" });
    observer.observe(box.current);
    return () => observer.disconnect();
  }, []);
  const loaded = useLoaded(async (signal) => (isSeen ? source.get("/diff", { left: left.uid, right: right.uid, left_path: path, entry: file.name }, signal) : null), [isSeen]);
  const { data } = loaded;
  return html`<div ref=${box}>${loaded.error ? html`<p class="faint">${visible(file.name)}: ${size(file.left?.size)} → ${size(file.right?.size)}</p>` : !data ? html`<div class="card"><${Skeleton} lines=${3} /></div>`
    : data.form === "text" && !data.hunks.length ? html`<p><span class="mono">${visible(file.name)}</span> <span class="faint">changed, ${size(file.left?.size)} → ${size(file.right?.size)}; its content is not stored</span></p>` : data.form === "text" ? html`<${Diff} name=${file.name} hunks=${data.hunks} left=${left.label} right=${right.label} />` : html`<p>${visible(file.name)}: content that is no text differs, ${size(data.sizes?.[0])} and ${size(data.sizes?.[1])}</p>`}</div>`;
}

const Artifacts = ({ runs, place }) => html`<${Pair} runs=${runs} params=${place.params}>${(left, right) => html`<${ArtifactPair} key=${`${left.uid} ${right.uid}`} left=${left} right=${right} />`}</${Pair}>`;

function ArtifactPair({ left, right }) {
  const loaded = useLoaded(async (signal) => {
    const found = await Promise.all([left, right].map(async (run) => (await source.get(`/containers/${run.uid}/fields`, { kind: ["artifact"], details: true, limit: 200 }, signal)).fields));
    const paths = [...new Set(found.flat().map((field) => field.path))];
    return Promise.all(paths.map(async (path) => {
      const [a, b] = found.map((fields) => fields.find((field) => field.path === path));
      const isSame = a && b && a.hash === b.hash;
      return { path, a, b, isSame, diff: a && b && !isSame ? await source.get("/diff", { left: left.uid, right: right.uid, left_path: path }, signal).catch((error) => ({ error })) : null };
    }));
  }, [left.uid, right.uid]);
  if (loaded.error) return html`<${Failure} error=${loaded.error} onRetry=${loaded.again} />`;
  if (!loaded.data) return html`<${Skeleton} lines=${5} />`;
  if (!loaded.data.length) return html`<${Empty} title="Neither run tracks artifacts" />`;
  return html`${loaded.data.map(({ path, a, b, isSame, diff }) => html`<section key=${path} class="section">${isSame ? html`<p><${Path} path=${path} /> <span class="good-text">the same hash</span> <span class="mono faint">${a?.hash?.slice(0, 16)}</span></p>`
    : !a || !b ? html`<p><${Path} path=${path} /> <span class="faint">only in ${visible((a ? left : right).label)}</span></p>` : html`<${Difference} path=${path} diff=${diff} left=${left} right=${right} />`}</section>`)}`;
}

