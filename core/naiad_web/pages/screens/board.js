/** The board of charts: one card a metric, in sections by namespace, with the controls that all of them share. */
import { html, useCallback, useEffect, useMemo, useRef, useState } from "../lib/html.js";
import { color } from "../lib/color.js";
import { curves, smoothed } from "../lib/chartdata.js";
import { change, here, href } from "../lib/place.js";
import { useKeys } from "../lib/keys.js";
import { counted, visible } from "../lib/format.js";
import { source } from "../lib/source.js";
import { Button, Choice, Empty, FieldList, Popover, Toggle } from "../widgets/controls.js";
import { Chart } from "../widgets/chart.js";

/** @typedef {{id: string, uid: string, label: string}} Shown */
/** @typedef {{runs: Shown[], paths: string[], params: any, versions?: Map<string, number>, isLive?: boolean, groups?: {name: string, runs: string[]}[]|null,
 *   highlighted?: string|null, onHighlight?: (uid: string|null) => void, point?: number|null, onSelectX?: (x: number) => void, title?: string, extra?: any, height?: number}} BoardProps */

const OPEN_AT_FIRST = 24;
/** Points of all curves on one x of their own, so that a chart of many runs over time stays cheap. */
const OWN_X = 12_000;

/** Sections of paths by namespace; short names stand first. @param {string[]} paths @returns {[string, string[]][]} */
export function sections(paths) {
  const found = new Map();
  for (const path of paths) {
    const cut = path.indexOf("/");
    const name = cut < 0 ? "" : path.slice(0, cut);
    found.set(name, [...(found.get(name) ?? []), path]);
  }
  for (const [name, list] of [...found]) { // a section of one card would leave most of its row empty
    if (name && list.length === 1 && name !== "monitoring") {
      found.delete(name);
      found.set("", [...(found.get("") ?? []), ...list]);
    }
  }
  return [...found].sort(([a], [b]) => Number(a.startsWith("monitoring")) - Number(b.startsWith("monitoring")) || (a < b ? -1 : 1));
}

/** @param {BoardProps} props */
export function Board(props) {
  const { runs, paths, params } = props;
  const [own, setOwn] = useState(/** @type {string|null} */ (null));
  const [smooth, setSmooth] = useState(params.smooth);
  const timer = useRef(0);
  useEffect(() => setSmooth(params.smooth), [params.smooth]);
  const slide = (value) => {
    const weight = Math.max(0, Math.min(0.999, Number(value.toFixed(3))));
    setSmooth(weight);
    clearTimeout(timer.current);
    timer.current = window.setTimeout(() => change({ smooth: weight }, { replace: true }), 200);
  };
  useKeys({ s: () => slide(smooth < 0.5 ? smooth + 0.25 : smooth + (1 - smooth) / 2 > 0.99 ? 0.99 : smooth + (1 - smooth) / 2), S: () => slide(smooth <= 0.25 ? 0 : smooth - 0.25),
    Escape: () => params.full && change({ full: "" }) });
  const wanted = useMemo(() => {
    try {
      return params.m ? new RegExp(params.m, "i") : null;
    } catch {
      return null;
    }
  }, [params.m]);
  const found = useMemo(() => paths.filter((path) => !wanted || wanted.test(path)), [paths, wanted]);
  const pinned = params.pin.filter((path) => found.includes(path));
  const parts = /** @type {[string, string[]][]} */ ([...(pinned.length ? [["Pinned", pinned]] : []), ...sections(found.filter((path) => !pinned.includes(path)))]);
  const series = useMemo(() => runs.slice(0, 200), [runs]);
  const card = (path) => html`<${Metric} key=${path} path=${path} runs=${series} params=${params} smooth=${smooth} version=${props.versions?.get(path) ?? 0} isLive=${props.isLive} groups=${props.groups}
    highlighted=${props.highlighted ?? own} onHighlight=${props.onHighlight ?? setOwn} point=${props.point} onSelectX=${props.onSelectX} height=${props.height} />`;
  if (params.full && paths.includes(params.full)) return card(params.full);
  return html`<div class="section">
    <div class="bar" role="group" aria-label="Charts">
      <input class="input" type="search" style=${{ flex: "0 1 200px" }} placeholder="Filter metrics (regex)" aria-label="Metrics by regular expression" value=${params.m} onInput=${(e) => change({ m: e.target.value }, { replace: true })} />
      <${Choice} label="Horizontal axis" value=${["step", "relative", "time"].includes(params.x) ? params.x : ""} onChange=${(x) => change({ x, zoom: null, zooms: {} })} options=${[["step", "step"], ["relative", "relative"], ["time", "time"]]} />
      <label class="toggle" title="Smoothing, computed from the raw points (s)">smooth <input type="range" min="0" max="0.99" step="0.01" value=${smooth} aria-label="Smoothing" onInput=${(e) => slide(+e.target.value)} />
        <span class="number faint" style=${{ width: "4ch" }}>${smooth ? smooth.toFixed(2) : "off"}</span></label>
      <${Popover} label="Axes" name="Axes" align="end"><div class="section">
        <${Toggle} on=${params.logy} onChange=${(logy) => change({ logy })}>log vertical axis</${Toggle}>
        <${Toggle} on=${params.logx} onChange=${(logx) => change({ logx })}>log horizontal axis</${Toggle}>
        <${Toggle} on=${params.clip} onChange=${(clip) => change({ clip })}>clip outliers, with marks</${Toggle}>
        <${Toggle} on=${params.sync} onChange=${(sync) => change({ sync })}>zoom all charts together</${Toggle}>
        <p class="eyebrow">Horizontal axis from a series</p>
        <${FieldList} label="the horizontal axis" value=${params.x.startsWith("series:") ? params.x.slice(7) : ""} none="none" names=${paths} onChange=${(path) => change({ x: path ? `series:${path}` : "step", zoom: null, zooms: {} })} /></div></${Popover}>
      ${props.extra}
      <span class="grow"></span><span class="faint" aria-live="polite">${counted(found.length, "chart")}${runs.length > 200 ? "; the first 200 runs" : ""}</span>
    </div>
    ${found.length === 0 && html`<${Empty} title=${paths.length ? "No metric has this name" : "No series of numbers"}>${paths.length ? "" : "Log one with run[\"train/loss\"].append(loss)."}</${Empty}>`}
    ${parts.map(([name, list], i) => html`<${Section} key=${name} name=${name} list=${list} card=${card} isOpen=${i === 0 || found.length <= OPEN_AT_FIRST || !name.startsWith("monitoring")} />`)}
  </div>`;
}

function Section({ name, list, card, isOpen }) {
  const [open, setOpen] = useState(isOpen);
  const [count, setCount] = useState(60);
  return html`<section class="section" aria-label=${name || "Metrics"}>
    ${(name || list.length > 1) && html`<button type="button" class="section-head" aria-expanded=${String(open)} onClick=${() => setOpen(!open)}><span class="faint" aria-hidden="true">${open ? "▾" : "▸"}</span>
      <bdi>${visible(name || "metrics")}</bdi> <span class="faint">${list.length}</span></button>`}
    ${open && html`<div class="charts">${list.slice(0, count).map(card)}</div>`}
    ${open && list.length > count && html`<${Button} onClick=${() => setCount(count + 60)}>Show more of ${list.length}</${Button}>`}
  </section>`;
}

/** One metric of some runs. @param {any} props */
function Metric({ path, runs, params, smooth, version, isLive, groups, highlighted, onHighlight, point, onSelectX, height }) {
  const ids = useMemo(() => runs.map((run) => run.uid), [runs]);
  const raw = useRef(/** @type {{key: string, version: number, data: any}|null} */ (null));
  const latest = useRef(version);
  latest.current = version;
  const buckets = params.x === "step" ? 1000 : Math.max(60, Math.min(1000, Math.floor(OWN_X / (2 * Math.max(1, ids.length)))));
  const key = JSON.stringify([ids, path, params.x, groups]);
  const load = useCallback(async (range, signal) => {
    const cached = raw.current, at = latest.current;
    if (!range && !groups && smooth && cached?.key === key && cached.version === at) return locally(cached.data, smooth);
    const ask = { path: [path], x: params.x, buckets, smooth: smooth || undefined, from: range?.[0], to: range?.[1],
      ...(groups ? { groups, band: "range" } : { run: ids }) };
    const data = curves(await source.chart(ask, signal));
    if (!range && !groups && !smooth) raw.current = data.isRaw ? { key, version: at, data } : null;
    return data;
  }, [key, smooth, buckets]);
  const sources = useMemo(() => (groups
    ? groups.map((group, i) => ({ key: group.name, label: group.name, color: `var(--run-${i % 12})` }))
    : runs.map((run) => ({ key: run.uid, label: run.label, color: color(run.id) }))), [runs, groups]);
  const kind = params.x;
  const zoom = params.sync ? params.zoom : ranged(params.zooms?.[path]);
  const onZoom = useCallback((range) => {
    const now = here().params;
    if (now.sync) change({ zoom: range });
    else {
      const { [path]: _, ...rest } = now.zooms;
      change({ zooms: range ? { ...rest, [path]: range.join("~") } : rest });
    }
  }, [path]);
  const exact = useCallback(async (uid, x) => {
    const answer = await source.get("/nearest", { run: uid, path, x: kind, at: x });
    const [found] = answer.points;
    return found ? { x: found.x, value: found.value } : null;
  }, [path, kind]);
  const isFull = params.full === path;
  const first = runs[0];
  return html`<${Chart} title=${path} sources=${sources} load=${load} version=${version} xKind=${kind} logX=${params.logx} logY=${params.logy} clip=${params.clip} zoom=${zoom} onZoom=${onZoom}
    sync=${`x ${kind}`} height=${isFull ? Math.max(300, innerHeight - 170) : height ?? 200} eager=${isFull} highlighted=${highlighted} onHighlight=${onHighlight} isLive=${isLive} point=${point} onSelectX=${onSelectX}
    isPinned=${params.pin.includes(path)} onPin=${() => change({ pin: params.pin.includes(path) ? params.pin.filter((p) => p !== path) : [...params.pin, path] })}
    isFull=${isFull} onFull=${() => change({ full: isFull ? "" : path })} exact=${groups || !source.isLive ? undefined : exact}
    onCsv=${source.isLive ? async () => (await source.send("/series", { run: ids, path: [path], format: "csv" })).blob() : undefined}
    python=${`import naiad\n\nrun = naiad.init_run(with_id=${JSON.stringify(first?.id ?? "")}, mode="read-only")\nprint(run[${JSON.stringify(path)}].fetch_values())\n`}
    link=${new URL(href({ ...here(), params: { ...here().params, full: path } }), location.href).href} />`;
}

/** Smoothing of points that are all here already, so that the slider follows the hand. */
function locally(data, weight) {
  return { ...data, smoothing: weight, curves: data.curves.map((curve) => ({ ...curve, line: smoothed(curve.line, weight), low: curve.line, high: curve.line })) };
}

/** @param {string|undefined} text @returns {[number, number]|null} */
function ranged(text) {
  const ends = (text ?? "").split("~").map(Number);
  return ends.length === 2 && ends.every(Number.isFinite) && ends[0] < ends[1] ? /** @type {[number, number]} */ (ends) : null;
}

const GATHER_MS = 50; // of many runs that grow, the events come one by one

/** Count, for each path of the watched runs, how often it grew: charts load again when their number changes.
 * @param {Shown[]} runs @param {string} project @param {(event: string, data: any) => void} [tell] */
export function useLive(runs, project, tell) {
  const [counts] = useState(/** @type {Map<string, number>} */ (new Map()));
  const [versions, setVersions] = useState(counts);
  const [isLost, setLost] = useState(false);
  const teller = useRef(tell);
  teller.current = tell;
  const key = runs.slice(0, 100).map((run) => run.uid).join(" ");
  useEffect(() => {
    if (!source.isLive || (!key && !project)) return undefined;
    let timer = 0;
    const leave = source.events({ project: project ? [project] : [], run: key ? key.split(" ") : [] }, (event, data) => {
      if (event === "lost") setLost(true);
      if (event === "hello") setLost(false);
      if (event === "fields") {
        for (const path of [...Object.keys(data.grown ?? {}), ...(data.changed ?? []), ...(data.removed ?? [])]) counts.set(path, (counts.get(path) ?? 0) + 1);
        timer ||= window.setTimeout(() => {
          timer = 0;
          setVersions(new Map(counts));
        }, GATHER_MS);
      }
      teller.current?.(event, data);
    });
    return () => {
      clearTimeout(timer);
      leave();
    };
  }, [key, project]);
  return { versions, isLost };
}

