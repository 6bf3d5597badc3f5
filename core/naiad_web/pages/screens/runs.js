/** The table of runs: query, quick filters, columns, groups, saved views, and charts of its rows beside it. */
import { html, useEffect, useMemo, useRef, useState } from "../lib/html.js";
import { color } from "../lib/color.js";
import { change, go, here, href, read as readPlace } from "../lib/place.js";
import { useKeys } from "../lib/keys.js";
import { Rows, WHOLE, filed, likely, nested, shares } from "../lib/rows.js";
import { FORMATS, counted, labels, visible } from "../lib/format.js";
import { curves } from "../lib/chartdata.js";
import { source } from "../lib/source.js";
import { Button, Copy, Empty, Failure, FieldChecks, Menu, Popover, Skeleton, Swatch, Tag, Toggle, copied, saved, useLoaded } from "../widgets/controls.js";
import { ColumnPicker, Table, nextSort } from "../widgets/lists.js";
import { QueryBar, isIn, toggled } from "../widgets/query.js";
import { Sparkline } from "../widgets/chart.js";
import { Board, useLive } from "./board.js";
import { EditRuns, SaveView, Toast, useToast } from "./shell.js";
import { TITLES, isNumeric, shown } from "./cells.js";

const BASE = ["sys/id", "sys/name", "sys/state", "sys/creation_time", "sys/running_time", "sys/tags"];
const WIDTHS = { "sys/id": 150, "sys/name": 170, "sys/state": 108, "sys/creation_time": 126, "sys/running_time": 92, "sys/tags": 150, "sys/owner": 90 };
const IN_CHARTS = 50;

/** @param {string} text */
const order = (text) => (text.startsWith("-") ? { key: text.slice(1), desc: true } : { key: text, desc: false });
const written = ({ key, desc }) => (desc ? `-${key}` : key);

/** @param {{place: any, about: any}} props */
export function Runs({ place, about }) {
  const { project, params } = place;
  const fields = useLoaded((signal) => source.get("/columns", { kind: "run", project, limit: 20_000 }, signal), [project]);
  const first = useLoaded(async (signal) => (fields.data && !params.cols.length ? likely(fields.data.columns, project, signal) : null), [fields.data, params.cols.length > 0]);
  const views = useLoaded((signal) => source.get("/views", { project }, signal), [project]);
  const [, redraw] = useState(0);
  const [error, setError] = useState(/** @type {any} */ (null));
  const [selected, setSelected] = useState(/** @type {Set<string>} */ (new Set(params.runs)));
  const [highlighted, setHighlighted] = useState(/** @type {string|null} */ (null));
  const [editing, setEditing] = useState(/** @type {any} */ (null));
  const [toast, say] = useToast();
  const findInput = useRef(null);
  const anchor = useRef(-1);

  const names = useMemo(() => {
    if (params.cols.length) return params.cols;
    return [...BASE, ...(first.data ? [...first.data.params, ...first.data.metrics] : [])];
  }, [params.cols, first.data]);
  const sparks = names.filter((name) => name.startsWith("spark:"));
  const shownPlain = names.filter((name) => !name.startsWith("spark:"));
  const plain = params.tree ? [...shownPlain, "sys/parent_uid"] : shownPlain;
  const sort = useMemo(() => (params.sort.length ? params.sort : ["-sys/creation_time"]).map(order), [params.sort]);
  const isPaged = useRef(false);
  const ask = useMemo(() => ({ kind: "run", project, query: params.q || undefined, trashed: params.trash ? "true" : undefined,
    ...(isPaged.current ? { sort: sort.map((s) => s.key), order: sort.map((s) => (s.desc ? "desc" : "asc")) } : {}) }),
  [project, params.q, params.trash, isPaged.current ? params.sort.join() : ""]);
  const rows = useMemo(() => new Rows(ask, plain, () => redraw((n) => n + 1)), [ask]);
  const before = useRef(/** @type {Rows|null} */ (null));
  useEffect(() => {
    setError(null);
    rows.load().then(() => {
      before.current = rows;
      isPaged.current = rows.total > WHOLE;
    }, (failure) => failure.name === "AbortError" || setError(failure));
    return () => rows.close();
  }, [rows]);
  useEffect(() => {
    rows.show(plain).catch((failure) => failure.name === "AbortError" || setError(failure));
  }, [plain.join("\u0000"), rows, rows.isWhole, rows.uids.length > 0]);

  const isReady = rows.version > 0;
  const table = isReady ? rows : before.current ?? rows; // the old rows stay until new ones are there
  const visibleOrder = useMemo(() => table.order(sort, params.find), [table, table.version, sort, params.find]);

  const hidden = useMemo(() => new Set(params.hidden), [params.hidden]);
  const shownRuns = useMemo(() => {
    const first = visibleOrder.filter((i) => !hidden.has(table.ids[i])).slice(0, IN_CHARTS);
    const texts = labels(first.map((i) => ({ id: table.ids[i], name: table.value("sys/name", i) })));
    return first.map((i, k) => ({ id: table.ids[i], uid: table.uids[i], label: texts[k] }));
  }, [visibleOrder, hidden, table, table.version]);
  // The charts beside the table follow the runs that still log.
  const watched = useMemo(() => (params.split ? shownRuns.filter((run) => table.value("sys/state", table.uids.indexOf(run.uid)) === "running") : []), [params.split, shownRuns]);

  const known = useMemo(() => new Set(fields.data?.columns.map((field) => field.path)), [fields.data]);
  const [pending] = useState(/** @type {Set<string>} */ (new Set()));
  const timer = useRef(0);
  const [grown, setGrown] = useState(/** @type {string[]} */ ([]));
  const live = useLive(watched, project, (event, data) => {
    if (event === "fields" && Object.keys(data.grown ?? {}).some((path) => !known.has(path))) fields.again();
    if (event !== "runs") return;
    for (const { uid, kind = "run" } of [...data.changed, ...data.removed]) if (kind === "run") pending.add(uid);
    timer.current ||= window.setTimeout(() => {
      timer.current = 0;
      const uids = [...pending].slice(0, 500);
      for (const uid of uids) pending.delete(uid);
      setGrown(uids);
      // A run that came brings fields. As the first one logs, a page that began without any still has no columns to show.
      const isBare = first.data && !(first.data.params.length && first.data.metrics.length);
      if (uids.length) rows.refresh(uids).then((isOther) => (isOther || isBare) && fields.again(), () => undefined);
    }, 400);
  });

  const columns = useMemo(() => names.map((name) => {
    const held = table.columns.get(name);
    const isSpark = name.startsWith("spark:");
    const path = isSpark ? name.slice(6) : name;
    return { key: name, title: params.titles[name] ?? TITLES[name] ?? path, hint: name, width: Number(params.widths[name]) || WIDTHS[name] || 112, sortable: !isSpark,
      pinned: params.pins.length ? params.pins.includes(name) : name === "sys/id", align: held && (isNumeric(held.kind) || name === "sys/running_time") ? /** @type {"end"} */ ("end") : undefined };
  }), [names, table, table.version, params.widths, params.pins, params.titles]);
  const setColumns = (next) => change({
    cols: next.map((column) => column.key), pins: next.some((c) => c.pinned) ? next.filter((c) => c.pinned).map((c) => c.key) : ["none"],
    widths: Object.fromEntries(next.filter((c) => c.width && c.width !== (WIDTHS[c.key] ?? 112)).map((c) => [c.key, String(Math.round(c.width))])),
  }, { replace: true });

  const toggleEye = (id) => change({ hidden: hidden.has(id) ? params.hidden.filter((other) => other !== id) : [...params.hidden, id] }, { replace: true });
  const select = (uid, index, isRange) => {
    const next = new Set(selected);
    if (isRange && anchor.current >= 0) {
      const [from, to] = [Math.min(anchor.current, index), Math.max(anchor.current, index)];
      for (let i = from; i <= to; i++) if (!rowAt(i).isGroup) next.add(rowAt(i).id);
    } else if (!next.delete(uid)) next.add(uid);
    anchor.current = index;
    choose(next);
  };
  const choose = (next) => {
    setSelected(next);
    change({ runs: [...next].slice(0, 200) }, { replace: true });
  };
  const compare = () => go({ screen: "compare", project, tab: "", params: { runs: [...selected].slice(0, 100) } });
  const groups = useGroups(ask, params.group, names, rows);
  const isGrouped = params.group.length > 0;
  const isTree = params.tree && !isGrouped && table.isWhole;
  const opened = useMemo(() => new Set(params.open), [params.open]);
  const tree = useMemo(() => (isTree ? nested(visibleOrder, table, opened) : []), [isTree, visibleOrder, table, table.version, opened]);
  const listed = isGrouped ? groups.rows : isTree ? tree : visibleOrder;
  const run = (at, facts = {}) => ({ id: table.ids[at], at, label: table.value("sys/name", at) || table.ids[at], ...facts });
  const rowAt = (index) => (isGrouped ? groups.rows[index] : isTree ? run(tree[index].at, tree[index]) : run(visibleOrder[index]));
  const twist = (row, isOpen = !opened.has(row.id)) => change({ open: isOpen ? [...opened, row.id] : params.open.filter((id) => id !== row.id) }, { replace: true });
  const lines = useSparks(sparks, useMemo(() => (sparks.length ? visibleOrder.slice(0, 400).map((i) => table.uids[i]) : []), [sparks.length, visibleOrder, table]), grown);
  const openRun = (row) => (row.isGroup ? groups.toggle(row) : go({ screen: "run", project: (row.rows ?? table).projects[row.at] ?? project, id: row.id }));

  const cell = (row, column) => {
    if (row.isGroup) return groups.cell(row, column, columns);
    const from = row.rows ?? table;
    const { at } = row;
    const value = from.value(column.key, at);
    if (column.key === "sys/id") {
      return html`${isTree && html`<span class="indent" style=${{ width: `${14 * Math.min(row.depth, 8)}px` }}></span>${row.children ? html`<button type="button" class="twist" tabindex="-1" aria-expanded=${String(opened.has(row.id))}
        aria-label=${`${counted(row.children, "child", "children")} of ${row.id}`} onClick=${() => twist(row)}>${opened.has(row.id) ? "▾" : "▸"}</button>` : html`<span class="twist"></span>`}`}<button type="button" class="eye" tabindex="-1" aria-pressed=${String(!hidden.has(row.id))} aria-label=${`${hidden.has(row.id) ? "Show" : "Hide"} curves of ${row.id}`} title="Show or hide the curves (space)"
        onClick=${() => toggleEye(row.id)}><${Swatch} id=${row.id} hollow=${hidden.has(row.id)} /></button> <a href=${href({ screen: "run", project: from.projects?.[at] ?? project, id: row.id })} tabindex="-1">${visible(row.id)}</a>${isTree && row.children > 0 && html` <span class="faint">${row.children.toLocaleString("en")}</span>`}`;
    }
    if (column.key.startsWith("spark:")) {
      const line = lines.get(`${from.uids[at]} ${column.key.slice(6)}`);
      return line ? html`<${Sparkline} values=${line} color=${color(row.id)} />` : "";
    }
    const held = from.columns.get(column.key);
    return shown(value, held?.kinds?.length === 1 ? held.kind : held?.kind, column.key, { present: held?.present?.[at], format: params.formats[column.key] });
  };
  const scales = useMemo(() => new Map(params.scales.map((name) => [name, shares(table.columns.get(name)?.values ?? [])])), [params.scales, table, table.version]);
  const shade = (row, column) => {
    const share = row.isGroup ? null : scales.get(column.key)?.((row.rows ?? table).value(column.key, row.at)) ?? null;
    return share === null ? undefined : { background: `color-mix(in srgb, var(--accent) ${Math.round(4 + 30 * share)}%, var(--surface))` };
  };
  const numberMenu = (column) => (isNumeric(table.columns.get(column.key)?.kind) ? [
    { text: params.scales.includes(column.key) ? "No shade" : "Shade by value", run: () => change({ scales: toggledItem(params.scales, column.key) }) },
    ...FORMATS.map(([format, name]) => ({ text: `Numbers: ${name}`, isOn: (params.formats[column.key] ?? "") === format, run: () => change({ formats: { ...without(params.formats, column.key), ...(format ? { [column.key]: format } : {}) } }) })),
  ] : []);

  const paths = useMemo(() => (fields.data?.columns ?? []).filter((field) => field.kind === "float_series" && !field.path.startsWith("monitoring/")).map((field) => field.path), [fields.data]);

  useKeys({ "/": () => findInput.current?.focus(), c: () => selected.size > 1 && compare(), d: () => change({ split: !here().params.split }) });
  const exported = async (format) => {
    const isCsv = format === "csv";
    const name = `${project || "runs"}.${isCsv ? "csv" : "json"}`;
    if (isGrouped) return saved(name, filed(...groups.content(), isCsv));
    // All that is shown is here, in the order in which it is shown; of a table in pages the server has the rest.
    if (table.isWhole || params.find) return saved(name, filed(shownPlain, listed.map((row) => shownPlain.map((key) => table.value(key, row.at ?? row))), isCsv));
    const wanted = { ...ask, column: shownPlain, sort: sort.map((s) => s.key), order: sort.map((s) => (s.desc ? "desc" : "asc")), format };
    try {
      saved(name, await (await source.send("/table", wanted)).blob());
    } catch (failure) {
      say({ text: failure.message });
    }
  };
  const chosen = [...selected];
  const trash = async (ids, isBack) => {
    try {
      await source.change("POST", isBack ? "/restore" : "/trash", { ids });
      setSelected(new Set());
      change({ runs: [] }, { replace: true });
      await rows.load();
      say({ text: `${counted(ids.length, "run")} ${isBack ? "restored" : "moved to the trash"}.`, action: isBack ? null : { text: "Undo", run: () => trash(ids, true) } });
    } catch (failure) {
      say({ text: failure.message });
    }
  };
  const isEmptyStore = isReady && table.total === 0 && !params.q && !params.trash;
  const isWrong = error?.type === "InvalidQuery"; // the bar shows where
  const count = isGrouped ? groups.total : params.find ? visibleOrder.length : table.total;
  const counts = isWrong ? "the query is not valid" : error && !isReady ? "not loaded" : !isReady || (isGrouped && groups.isLoading) ? "…"
    : isGrouped ? `${counted(count, "group")}; numbers are means` : params.find ? `${count.toLocaleString("en")} of ${table.total.toLocaleString("en")}` : counted(count, "run");

  return html`<div class="page fixed">
    <div class="page-head"><h1>${params.trash ? "Trash" : "Runs"}</h1><span class="faint" aria-live="polite">${counts}${selected.size ? ` · ${selected.size} selected` : ""}</span>
      ${live.isLost && html`<span class="badge">not live</span>`}<span class="grow"></span>
      <${Views} views=${views} project=${project} place=${place} say=${say} />
      <${Popover} label="Columns" name="Columns" align="end">${() => html`<${ColumnPicker} columns=${columns} onChange=${setColumns} fields=${choices(fields.data?.columns ?? [])} />`}</${Popover}>
      <${Popover} label=${isGrouped ? `Grouped by ${params.group.length}` : "Group"} name="Group by" align="end"><${FieldChecks} label="groups" names=${(fields.data?.columns ?? []).filter((field) => GROUPED.includes(field.kind)).map((field) => field.path)} chosen=${params.group} most=${3} onChange=${(group) => change({ group })} /></${Popover}>
      <${Menu} label="Export" title="Export what is shown" kind="" items=${[{ text: "CSV", run: () => exported("csv") }, { text: "JSON", run: () => exported("records") }, { text: "Copy as Python", run: () => copied(python(project, params.q, shownPlain, sort)) }, { text: "Copy link", run: () => copied(location.href) }]} />
      <${Toggle} on=${params.split} onChange=${(split) => change({ split })}>charts</${Toggle}></div>
    <div class="bar"><input class="input" ref=${findInput} type="search" style=${{ flex: "0 1 180px" }} placeholder="Find in rows" aria-label="Find in rows" value=${params.find} onInput=${(e) => change({ find: e.target.value }, { replace: true })} />
      ${source.isLive && html`<${QueryBar} value=${params.q} project=${project} onChange=${(q) => change({ q }, { replace: true })} /><${Quick} q=${params.q} project=${project} />`}${fields.data?.columns.some((field) => field.path === "sys/parent") && html`<${Toggle} on=${params.tree} disabled=${rows.total > WHOLE} title=${rows.total > WHOLE ? `A tree is shown of at most ${WHOLE.toLocaleString("en")} runs: narrow the query` : "Each run below its parent"} onChange=${(on) => change({ tree: on, open: [], group: [] })}>tree</${Toggle}>`}${source.isLive && html`<${Toggle} on=${params.trash} onChange=${(on) => { setSelected(new Set()); change({ trash: on, runs: [] }); }}>trash</${Toggle}>`}</div>
    ${selected.size > 0 && html`<div class="bar" role="group" aria-label="Selected runs"><span class="strong">${counted(selected.size, "run")}</span>
      <${Button} kind="primary" disabled=${selected.size < 2} title="Compare (c)" onClick=${compare}>Compare</${Button}>
      ${source.isEditable && !params.trash && html`<${Button} onClick=${() => setEditing(chosen)}>Edit…</${Button}><${Button} kind="danger" onClick=${() => trash(chosen, false)}>Move to trash</${Button}>`}
      ${source.isEditable && params.trash && html`<${Button} onClick=${() => trash(chosen, true)}>Restore</${Button}>`}
      <${Copy} text=${() => chosen.join("\n")} label="Copy ids">Copy ids</${Copy}><${Button} kind="quiet" onClick=${() => choose(new Set())}>Clear</${Button}></div>`}
    ${error && !isWrong && html`<${Failure} error=${error} onRetry=${() => { setError(null); rows.load().catch(setError); }} />`}
    <div class=${params.split ? "split" : "split-none"} style=${params.split ? { minHeight: 0 } : { display: "flex", flex: 1, minHeight: 0 }}>
      <div style=${{ display: "flex", flexDirection: "column", minHeight: 0, minWidth: 0, flex: 1 }}>
      ${!isReady && !before.current && !error ? html`<${Skeleton} lines=${10} label="Loading runs" />`
        : isWrong ? html`<${Empty} title="The query is not valid"><${Button} onClick=${() => change({ q: "" })}>Show all runs</${Button}></${Empty}>`
        : isEmptyStore ? html`<${Empty} title="No runs yet">A run appears here as soon as it starts:<pre>${`import naiad\n\nrun = naiad.init_run(project=${JSON.stringify(project || "demo")})\nrun["params/lr"] = 0.01\nrun["train/loss"].append(0.9)`}</pre></${Empty}>`
        : isGrouped && groups.isLoading ? html`<${Skeleton} lines=${6} label="Loading groups" />`
        : isGrouped && groups.error ? html`<${Failure} error=${groups.error} onRetry=${groups.again} />`
        : listed.length === 0 && !error ? html`<${Empty} title=${params.trash ? "The trash is empty" : "No run matches"}>${params.q || params.find ? html`<${Button} onClick=${() => change({ q: "", find: "" })}>Show all runs</${Button}>` : ""}</${Empty}>`
        : html`<${Table} label="Runs" columns=${columns} isTree=${isTree || isGrouped} count=${isGrouped || rows.isWhole || params.find ? listed.length : table.total} row=${(i) => (isGrouped || isTree ? rowAt(i) : i < visibleOrder.length && table.ids[visibleOrder[i]] ? rowAt(i) : null)} rowKey=${(row) => row.id} cell=${cell}
          sort=${sort} onSort=${(key, add) => change({ sort: nextSort(sort, key, add).map(written) })} onColumns=${setColumns} selected=${selected} onSelect=${select}
          onSelectAll=${(on) => choose(on ? new Set(visibleOrder.map((i) => table.ids[i])) : new Set())} onOpen=${openRun} onHover=${(row) => setHighlighted(row && !row.isGroup ? (row.rows ?? table).uids[row.at] : null)}
          highlighted=${highlighted ? table.ids[table.uids.indexOf(highlighted)] : undefined} onRange=${(first, last) => rows.want(first, last).catch(setError)} rowClass=${(row) => (row.isGroup ? "group" : "")} cellStyle=${scales.size ? shade : undefined} menu=${numberMenu}
          level=${(row) => (row.isGroup ? 1 : isGrouped ? 2 : (row.depth ?? 0) + 1)} isOpen=${(row) => (row.isGroup ? groups.isOpen(row) : row.children ? opened.has(row.id) : undefined)} onTwist=${(row, isOpen) => (row.isGroup ? groups.toggle(row) : twist(row, isOpen))}
          onRename=${(column) => { const title = prompt("Title of the column", column.title); if (title !== null) change({ titles: { ...params.titles, [column.key]: title } }); }}
          onKey=${(key, row) => { if (key === " " && !row.isGroup) { toggleEye(row.id); return true; } if (row.isGroup && key === " ") { groups.toggle(row); return true; } return false; }} />`}
      </div>
      ${params.split && html`<div class="side"><${Board} runs=${shownRuns} paths=${paths} params=${params} versions=${live.versions} isLive=${watched.length > 0} highlighted=${highlighted} onHighlight=${setHighlighted} height=${170}
        groups=${isGrouped && groups.bands.length ? groups.bands : null} extra=${html`<span class="faint">${shownRuns.length < visibleOrder.length ? `the first ${shownRuns.length} rows` : ""}</span>`} /></div>`}
    </div>
    ${editing && html`<${EditRuns} ids=${editing} onClose=${() => setEditing(null)} onDone=${(text) => { setEditing(null); rows.load().catch(setError); say({ text }); }} />`}
    <${Toast} toast=${toast} onClose=${() => say(null)} />
  </div>`;
}

const without = (record, key) => Object.fromEntries(Object.entries(record).filter(([name]) => name !== key));
const toggledItem = (list, item) => (list.includes(item) ? list.filter((other) => other !== item) : [...list, item]);

/** Fields as columns: attributes, and of series of numbers last, minimum, maximum, average and a line. @param {any[]} fields */
function choices(fields) {
  return fields.flatMap((field) => {
    const item = { key: field.path, title: TITLES[field.path] ?? field.path, kind: field.type };
    if (field.kind !== "float_series") return [item];
    return [item, ...["min", "max", "average", "variance"].map((aspect) => ({ key: `${field.path}:${aspect}`, title: `${field.path}:${aspect}`, kind: aspect })), { key: `spark:${field.path}`, title: field.path, kind: "line", width: 120 }];
  });
}

/** Lines for the cells of sparkline columns. @param {string[]} columns @param {string[]} uids @param {string[]} grown */
function useSparks(columns, uids, grown) {
  const [lines] = useState(/** @type {Map<string, number[]>} */ (new Map()));
  const [, draw] = useState({});
  const key = `${columns.join()} ${uids.slice(0, 200).join()}`;
  const ask = async (asked, stop) => {
    const paths = columns.map((c) => c.slice(6));
    // One request; a page in one file keeps a chart for each path.
    for (const path of source.isLive ? [paths] : paths) {
      for (let from = 0; from < asked.length; from += 100) {
        const head = await source.chart({ run: asked.slice(from, from + 100), path, buckets: 50 }, stop?.signal);
        for (const series of head.series) {
          const one = curves({ ...head, series: [series] });
          if (one.curves[0]) lines.set(`${series.uid} ${series.path}`, thinned(one.curves[0].line));
        }
        draw({});
      }
    }
  };
  useEffect(() => {
    const stop = new AbortController();
    ask(uids, stop).catch(() => undefined);
    return () => stop.abort();
  }, [key]);
  useEffect(() => {
    ask(grown.filter((uid) => uids.includes(uid))).catch(() => undefined);
  }, [grown]);
  return lines;
}

const thinned = (line) => Array.from(line).filter((value) => value === value);

/** Groups as rows with aggregates; an open one is followed by its runs. */
function useGroups(ask, by, names, rows) {
  const [state, setState] = useState(/** @type {any} */ ({ total: 0, groups: [], key: "", error: null }));
  const [turn, setTurn] = useState(0);
  const [open, setOpen] = useState(/** @type {Map<string, any>} */ (new Map()));
  const numeric = names.filter((name) => !name.startsWith("spark:") && isNumeric(rows.columns.get(name)?.kind));
  const key = JSON.stringify([ask, by, numeric, rows.version > 1]);
  useEffect(() => {
    setOpen(new Map());
    if (!by.length) return undefined;
    const stop = new AbortController();
    source.get("/groups", { ...ask, by, column: numeric }, stop.signal).then((answer) => {
      const groups = answer.counts.map((count, i) => ({
        isGroup: true, id: `group ${i}`, count, values: by.map((_, k) => answer.by[k].values[i]), kinds: answer.by.map((b) => b.kind), first: false,
        label: by.map((_, k) => String(answer.by[k].values[i] ?? "none")).join(", "),
        facts: new Map(answer.columns.map((c) => [c.name, { min: c.min[i], max: c.max[i], mean: c.mean[i], count: c.counts[i] }])),
      }));
      setState({ total: answer.total, groups, key, error: null });
    }, (error) => stop.signal.aborted || setState({ total: 0, groups: [], key, error }));
    return () => stop.abort();
  }, [key, turn]);
  const toggle = async (group) => {
    const next = new Map(open);
    if (next.delete(group.id)) return setOpen(next);
    const inner = new Rows({ ...ask, group: by.map((name, i) => [name, group.values[i]]) }, names.filter((n) => !n.startsWith("spark:")), () => undefined);
    await inner.load().catch(() => undefined);
    next.set(group.id, inner);
    return setOpen(next);
  };
  const list = by.length ? state.groups.flatMap((group) => [group, ...(open.has(group.id) ? open.get(group.id).ids.map((id, at) => ({ id, at, rows: open.get(group.id), label: id })) : [])]) : [];
  const cell = (group, column, columns) => {
    if (column.key === columns.find((c) => c.pinned)?.key || (columns[0].key === column.key && !columns.some((c) => c.pinned))) {
      return html`<button type="button" class="link" tabindex="-1" aria-expanded=${String(open.has(group.id))} onClick=${() => toggle(group)}>${open.has(group.id) ? "▾" : "▸"} ${by.map((name, i) => html`<span key=${name}>${shown(group.values[i], group.kinds[i], name) || html`<span class="faint">none</span>`} </span>`)}<span class="faint">${group.count}</span></button>`;
    }
    const own = by.indexOf(column.key);
    if (own >= 0) return shown(group.values[own], group.kinds[own], column.key);
    const fact = group.facts.get(column.key);
    if (!fact || fact.count === 0) return "";
    return html`<span title=${`minimum ${fact.min}, mean ${fact.mean}, maximum ${fact.max} of ${fact.count}`}>${shown(fact.mean, "float", column.key)}<span class="spoken"> mean</span></span>`;
  };
  /** Heads and lines of what is shown: the values of each group, its number of runs, and means. @returns {[string[], any[][]]} */
  const content = () => {
    const means = numeric.filter((name) => !by.includes(name));
    return [[...by, "runs", ...means.map((name) => `${name} (mean)`)], state.groups.map((group) => [...group.values, group.count, ...means.map((name) => group.facts.get(name)?.mean ?? null)])];
  };
  const bands = useMemo(() => [], []);
  const [filled, setFilled] = useState(bands);
  useEffect(() => {
    // Means of curves come from the server; a page without one draws each run.
    if (!by.length || !state.groups.length || !source.isLive) return setFilled(bands);
    let isGone = false;
    Promise.all(state.groups.slice(0, 8).map(async (group) => ({ name: group.label, runs: (await source.get("/table", { ...ask, group: by.map((name, i) => [name, group.values[i]]), column: ["sys/id"], limit: 50 })).uids })))
      .then((found) => !isGone && setFilled(/** @type {any} */ (found.filter((g) => g.runs.length))), () => undefined);
    return () => {
      isGone = true;
    };
  }, [state.groups]);
  return { rows: list, total: state.total, isLoading: !state.groups.length && state.key !== key, error: state.key === key ? state.error : null, again: () => setTurn((n) => n + 1),
    isOpen: (group) => open.has(group.id), toggle, cell, bands: filled, content };
}

const GROUPED = ["string", "int", "float", "bool", "string_set", "run_state"];

const TIMES = [["last hour", "-1h"], ["last day", "-1d"], ["last week", "-7d"], ["last 30 days", "-30d"]];

/** Quick filters for state, tag, owner and time: conditions of the query. @param {{q: string, project: string}} props */
function Quick({ q, project }) {
  return html`<${Popover} label=${"Filter"} name="Quick filters" align="end">${() => html`<${QuickPanel} q=${q} project=${project} />`}</${Popover}>`;
}

function QuickPanel({ q, project }) {
  const values = useLoaded((signal) => Promise.all(["sys/state", "sys/tags", "sys/owner"].map((path) => source.get("/values", { kind: "run", project, path, limit: 30 }, signal).catch(() => ({ values: [] })))), [project]);
  if (!values.data) return html`<${Skeleton} lines=${3} />`;
  const [states, tags, owners] = values.data;
  const chip = (condition, text, count) => html`<${Tag} key=${text} text=${count === undefined ? text : `${text} ${count}`} on=${isIn(q, condition)} onClick=${() => change({ q: toggled(here().params.q, condition) })} />`;
  const line = (name, items) => items.length > 0 && html`<div><p class="eyebrow">${name}</p><div class="tags">${items}</div></div>`;
  return html`<div class="section" style=${{ width: "min(380px, 80vw)" }}>
    ${line("State", states.values.map(({ value, count }) => chip(`sys/state = ${JSON.stringify(value)}`, value, count)))}
    ${line("Tags", tags.values.map(({ value, count }) => chip(`sys/tags CONTAINS ${JSON.stringify(value)}`, value, count)))}
    ${line("Owner", owners.values.map(({ value, count }) => chip(`sys/owner = ${JSON.stringify(value)}`, value, count)))}
    ${line("Created", TIMES.map(([text, ago]) => chip(`sys/creation_time > ${JSON.stringify(ago)}`, text)))}</div>`;
}

/** Saved views: names for URLs, kept in the project. @param {any} props */
function Views({ views, project, place, say }) {
  const [isSaving, setSaving] = useState(false);
  const list = views.data?.views ?? [];
  const own = (url) => {
    const at = new URL(url, location.href);
    go({ ...readPlace(at.pathname, at.search), project });
  };
  const remove = async (name) => {
    try {
      await source.change("DELETE", "/views", { project, name });
      views.again();
    } catch (failure) {
      say({ text: failure.message });
    }
  };
  return html`<${Popover} label=${"Views"} name="Saved views" align="end">${(close) => html`<div class="section" style=${{ minWidth: "220px" }}>
      ${list.length === 0 && html`<p class="faint">No saved views. ${source.isEditable ? "" : "A view lives in its address: copy the link. naiad ui --edit saves views by name."}</p>`}
      <ul class="menu">${list.map((view) => html`<li key=${view.name} class="bar"><button type="button" class="grow" onClick=${() => { close(); own(view.url); }}>${visible(view.name)}</button>
        ${source.isEditable && html`<button type="button" class="button quiet" style=${{ width: "auto" }} aria-label=${`Delete the view ${view.name}`} onClick=${() => remove(view.name)}>×</button>`}</li>`)}</ul>
      ${source.isEditable && html`<${Button} onClick=${() => { close(); setSaving(true); }}>Save this view…</${Button}>`}<${Copy} text=${() => location.href} label="Copy link">Copy link</${Copy}></div>`}</${Popover}>
    ${isSaving && html`<${SaveView} project=${project} url=${href(place)} onClose=${() => setSaving(false)} onDone=${() => { setSaving(false); views.again(); say({ text: "The view is saved in the project." }); }} />`}`;
}

/** @param {string} project @param {string} q @param {string[]} columns @param {{key: string, desc: boolean}[]} sort */
const python = (project, q, columns, sort) => [
  "import naiad",
  "",
  `project = naiad.init_project(${JSON.stringify(project)}, mode="read-only")`,
  `table = project.fetch_runs_table(query=${JSON.stringify(q)}, columns=${JSON.stringify(columns)}, sort_by=${JSON.stringify(sort[0]?.key ?? "sys/creation_time")}, ascending=${sort[0]?.desc ? "False" : "True"})`,
  "print(table.to_pandas())",
  "",
].join("\n");

