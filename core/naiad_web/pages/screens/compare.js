/** Runs beside each other: fields, charts, parallel coordinates, scatter, reasons, images, code and artifacts. */
import { html, useEffect, useMemo, useState } from "../lib/html.js";
import { addressOf, change, go, href } from "../lib/place.js";
import { useKeys } from "../lib/keys.js";
import { counted, labels, short, visible } from "../lib/format.js";
import { source } from "../lib/source.js";
import { Empty, FieldSelect, Path, Swatch, Tabs, Toggle, later, useLoaded, waiting } from "../widgets/controls.js";
import { Table, nextSort } from "../widgets/lists.js";
import { Board, useLive } from "./board.js";
import { shown } from "./cells.js";

const TABS = [["", "Side by side"], ["charts", "Charts"], ["parallel", "Parallel coordinates"], ["scatter", "Scatter"], ["why", "Why better?"], ["images", "Images"], ["code", "Code and packages"], ["artifacts", "Artifacts"]];
const MOST = 100;

// What one tab alone shows is loaded with it.
const [Coordinates, Dots] = ["Coordinates", "Dots"].map((name) => later(() => import("./spreads.js"), name));
const [Images, Code, Artifacts] = ["Images", "Code", "Artifacts"].map((name) => later(() => import("./contents.js"), name));
const Why = later(() => import("./reasons.js"), "Reasons");

/** @param {{place: any, about: any}} props */
export function Compare({ place }) {
  const { project, tab, params } = place;
  const { kind } = params;
  const key = params.runs.join("\u0000");
  const isSpread = ["parallel", "scatter", "why"].includes(tab);
  const found = useLoaded(async (signal) => (params.runs.length || isSpread
    ? source.get("/table", { kind, project: params.runs.length ? undefined : project, id: params.runs.slice(0, 200), trashed: "all", column: ["sys/id", "sys/name", "sys/state"], limit: params.runs.length ? 200 : 500 }, signal)
    : { ids: [], uids: [], projects: [], columns: [] }), [key, kind, isSpread, project]);
  const runs = useMemo(() => {
    const { ids = [], uids = [], projects = [], columns = [] } = found.data ?? {};
    const value = (name, i) => columns.find((column) => column.name === name)?.values[i];
    const names = labels(ids.map((id, i) => ({ id, name: value("sys/name", i) })));
    const all = ids.map((id, i) => ({ id, uid: uids[i], project: projects[i], label: names[i], state: value("sys/state", i) }));
    return params.runs.length ? [...all].sort((a, b) => params.runs.indexOf(a.id) - params.runs.indexOf(b.id)) : all;
  }, [found.data, key]);
  // Asked for by ids beside the table of them, not after it; of a run that is gone the answer is an error, and Charts asks anew.
  const early = useMemo(() => (tab === "charts" && params.runs.length > 1 ? source.get("/compare", { run: params.runs.slice(0, MOST) }).catch(() => null) : null), [tab, key]);
  const Body = { "": SideBySide, charts: Charts, parallel: Coordinates, scatter: Dots, why: Why, images: Images, code: Code, artifacts: Artifacts }[tab];
  const remove = (id) => change({ runs: params.runs.filter((other) => other !== id), ref: params.ref === id ? "" : params.ref });
  if (params.full && tab === "charts" && found.data) return html`<div class="page"><${Charts} runs=${runs} place=${place} /></div>`;
  return html`<div class=${tab === "" ? "page fixed" : "page"}>
    <div class="page-head"><h1>Compare</h1><span class="faint" aria-live="polite">${!found.data ? "…" : isSpread && !params.runs.length ? (runs.length < 500 ? `${runs.length === 1 ? "the one run" : `all ${runs.length} runs`} of the project` : "500 runs of the project") : counted(runs.length, kind === "run" ? "run" : "version")}</span><span class="grow"></span>${kind === "run" && html`<a class="button" href=${href({ screen: "runs", project, params: { runs: params.runs } })}>Choose runs</a>`}</div>
    ${params.runs.length > 0 && params.runs.length <= 16 && html`<div class="tags" role="group" aria-label="Compared runs">${runs.map((run) => html`<span key=${run.uid} class="tag" style=${{ maxWidth: "260px" }}><${Swatch} id=${run.id} /> <a href=${href(addressOf(run, project, kind))} style=${{ padding: "0 4px" }}>${visible(run.label)}</a>
      ${params.runs.length > 1 && html`<button type="button" class="remove" aria-label=${`Remove ${run.id}`} onClick=${() => remove(run.id)}>×</button>`}</span>`)}</div>`}
    <${Tabs} label="Ways to compare" tabs=${TABS} tab=${tab} to=${(name) => href({ ...place, tab: name, params: { ...params, full: "" } })} />
    ${found.error || !found.data ? waiting(found, 8)
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
  if (loaded.error || !loaded.data) return waiting(loaded, 10);
  const shownRuns = runs.slice(0, MOST);
  const isOne = shownRuns.length === 1;
  const reference = Math.max(-1, shownRuns.findIndex((run) => run.id === params.ref));
  const sort = (params.sort.length ? params.sort : ["path"]).map((text) => ({ key: text.replace(/^-/, ""), desc: text.startsWith("-") })).filter((item) => ["path", "spread"].includes(item.key));
  const columns = [{ key: "path", title: "field", width: wide.path ?? Math.min(260, innerWidth * 0.4), pinned: true, fixed: true }, ...(isOne ? [] : [{ key: "spread", title: "spread", width: wide.spread ?? 96, align: /** @type {"end"} */ ("end"), hint: "Largest minus smallest value", fixed: true }]),
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
      ${!isOne && html`<${Toggle} on=${params.diff} onChange=${(diff) => change({ diff })}>differences only</${Toggle}>
      <label class="toggle">reference <select class="input" value=${params.ref} onChange=${(e) => change({ ref: e.target.value })}><option value="">none</option>${shownRuns.map((run) => html`<option key=${run.id} value=${run.id}>${visible(run.label)}</option>`)}</select></label>`}
      <span class="grow"></span><span class="faint" aria-live="polite">${counted(rows.length, "row")}${runs.length > MOST ? `; the first ${MOST} runs` : ""}</span></div>
    ${rows.length === 0 ? html`<${Empty} title=${params.diff ? "These runs do not differ" : "No field has this name"} />` : html`
    <div class="compare-table" style=${{ display: "flex", flex: 1, minHeight: 0 }}><${Table} label="Fields of the compared runs" columns=${columns} count=${rows.length} row=${(i) => rows[i]} rowKey=${(row) => row.path} cell=${cell}
      sort=${sort} onSort=${(key) => change({ sort: nextSort(sort, key, false).map(({ key: k, desc }) => (desc ? `-${k}` : k)) })} rowClass=${(row) => (row.differs || isOne ? "" : "same")}
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
  if (there.error || !there.data) return waiting(there, 8);
  // Of the compared runs' own fields: a project may have thousands that none of them has.
  const by = there.data.fields.filter((row) => row.kinds.some((kind) => ["string", "int", "float", "bool", "string_set"].includes(kind)) && !row.path.startsWith("monitoring/"))
    .sort((a, b) => Number(b.differs) - Number(a.differs));
  return html`<${Board} runs=${runs} paths=${paths} params=${params} versions=${live.versions} isLive=${runs.some((run) => run.state === "running")} groups=${params.band ? groups : null}
    extra=${html`<${FieldSelect} label="group by" value=${params.band} none="none" names=${by.map((row) => row.path)} onChange=${(band) => change({ band })} />`} />`;
}
