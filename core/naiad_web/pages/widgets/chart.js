/** A chart card: a plot with its title, controls, hover table, the sentence that says what is drawn, and downloads. */
import { html, cls, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../lib/html.js";
import { dashes, faded, resolved } from "../lib/color.js";
import { clipped, csv, extremes, sentence, spoken, svg } from "../lib/chartdata.js";
import { duration, moment, short, visible, whole } from "../lib/format.js";
import { Button, Empty, Failure, Menu, Path, Skeleton, copied, saved, useLoaded, useSize } from "./controls.js";

/** @typedef {import("../lib/chartdata.js").ChartData} ChartData */
/**
 * @typedef {{key: string, label: string, color: string}} Source
 * @typedef {{title: string, sources: Source[], load: (range: [number, number]|null, signal: AbortSignal) => Promise<ChartData>,
 *   version?: any, xKind?: string, logX?: boolean, logY?: boolean, clip?: boolean, zoom?: [number, number]|null,
 *   onZoom?: (range: [number, number]|null) => void, sync?: string, height?: number, highlighted?: string|null,
 *   onHighlight?: (key: string|null) => void, isPinned?: boolean, onPin?: () => void, isFull?: boolean, onFull?: () => void,
 *   onCsv?: () => Promise<Blob>, python?: string, link?: string, point?: number|null, exact?: (key: string, x: number) => Promise<{x: number, value: number}|null>,
 *   eager?: boolean, isLive?: boolean, onSelectX?: (x: number) => void}} ChartProps
 */

const MANY = 12;
const ROWS = 14;

/** The name of an x axis. @param {string} kind */
export const xName = (kind) => ({ step: "step", relative: "relative time", time: "time" })[kind] ?? kind;

/** @param {string} kind @param {number} x */
export const xText = (kind, x) =>
  kind === "time" ? `${moment(new Date(x))}:${String(new Date(x).getSeconds()).padStart(2, "0")}`
    : kind === "relative" ? duration(x) : whole(x);

/** @param {ChartProps} props */
export function Chart(props) {
  const { title, sources, xKind = "step", logX = false, logY = false, zoom = null, height = 220, eager = false } = props;
  const [card, { width }] = useSize();
  const canvas = useRef(null);
  const plot = useRef(null);
  const [isNear, setNear] = useState(eager);
  const [hover, setHover] = useState(/** @type {any} */ (null));
  const [asTable, setAsTable] = useState(false);
  const [Plot, setPlot] = useState(/** @type {any} */ (null));

  useEffect(() => void import("./plot.js").then((found) => setPlot(() => found.Plot)), []); // a table without charts needs none of it

  useEffect(() => {
    if (!card.current) return undefined;
    const observer = new IntersectionObserver((entries) => setNear(entries[entries.length - 1].isIntersecting), { rootMargin: "200px" });
    observer.observe(card.current);
    return () => observer.disconnect();
  }, []);
  const seen = useRef(/** @type {any[]} */ ([false])); // of a chart out of sight the version stays
  if (isNear) seen.current = [true, props.version];
  const [isSeen, version] = seen.current;
  const state = useLoaded((signal) => (isSeen ? props.load(zoom, signal) : new Promise(() => undefined)), [isSeen, props.load, zoom?.[0], zoom?.[1]], version);

  const { data, error } = state;
  // The curves before stay as they were until those of other runs or groups are there.
  const painted = useRef(sources);
  const paint = useMemo(() => {
    const there = new Set(data?.curves.map((curve) => curve.key));
    if (!there.size || sources.some((source) => there.has(source.key))) painted.current = sources;
    return paints(data, painted.current);
  }, [data, sources]);
  const names = useMemo(() => new Map(paint.map((/** @type {any} */ item) => /** @type {[string, string]} */ ([item.key, item.label]))), [paint]);
  const clip = useMemo(() => (data && props.clip ? clipped(data) : null), [data, props.clip]);
  const isEmpty = Boolean(data && data.curves.every((curve) => curve.points === 0));
  const dark = useTheme();

  useLayoutEffect(() => {
    if (!Plot || !data || isEmpty || asTable || !canvas.current || width < 40) return;
    const look = { xKind, logX, logY, sync: props.sync ?? "", zoom, yRange: logY ? null : clip?.range ?? null, width: Math.floor(width), height, axes: true };
    const events = {
      onZoom: (range) => props.onZoom?.(range),
      onHover: (at) => {
        setHover(at);
        if (at?.isOwn) props.onHighlight?.(at.key);
      },
    };
    if (plot.current && plot.current.theme === dark) {
      plot.current.events = events;
      plot.current.update(data, paint, look);
    } else {
      plot.current?.destroy();
      plot.current = Object.assign(new Plot(canvas.current, data, paint, look, events), { theme: dark });
    }
  }, [Plot, data, paint, xKind, logX, logY, width, height, clip, asTable, isEmpty, dark, zoom?.[0], zoom?.[1]]);

  useEffect(() => {
    if (!asTable && !isEmpty) return;
    plot.current?.destroy();
    plot.current = null;
  }, [asTable, isEmpty]);
  useEffect(() => () => {
    plot.current?.destroy();
    plot.current = null;
  }, []);
  useEffect(() => plot.current?.highlight(hover?.isOwn ? hover.key : props.highlighted ?? null), [hover?.key, props.highlighted, data]);
  useEffect(() => {
    if (props.point !== undefined && props.point !== null) plot.current?.point(props.point);
  }, [props.point, data]);

  const keys = (event) => {
    if (!data || !data.x.length || !props.onZoom || event.ctrlKey || event.metaKey || event.altKey) return;
    const [low, high] = zoom ?? [data.x[0], data.x[data.x.length - 1]];
    const span = high - low;
    const next = { "+": [low + span / 4, high - span / 4], "=": [low + span / 4, high - span / 4], "-": [low - span / 2, high + span / 2],
      ArrowLeft: zoom && [low - span / 4, high - span / 4], ArrowRight: zoom && [low + span / 4, high + span / 4] }[event.key];
    if (event.key === "0") props.onZoom(null);
    else if (next) props.onZoom(/** @type {[number, number]} */ (next));
    else return;
    event.preventDefault();
    event.stopPropagation();
  };

  const file = title.replace(/[^\w.-]+/g, "_");
  const exportSvg = () => {
    const p = plot.current;
    const at = (value) => resolved(canvas.current, value);
    return svg(/** @type {ChartData} */ (data), {
      title, width: 760, height: 420, range: p.range(), ticks: p.ticks(), logX, logY, ink: at("var(--ink)"), line: at("var(--line)"), back: at("var(--surface)"),
      paint: paint.map((item) => ({ key: item.key, label: item.label, dash: item.dash ?? [], stroke: at(item.color), fill: faded(at(item.color), 0.2) })),
    });
  };
  const actions = [
    { text: asTable ? "Show as chart" : "Show as table", run: () => setAsTable(!asTable) },
    props.onPin && { text: props.isPinned ? "Unpin" : "Pin to the top", run: props.onPin },
    { text: "Download PNG", disabled: !data || asTable || isEmpty, run: async () => saved(`${file}.png`, await plot.current.png(title)) },
    { text: "Download SVG", disabled: !data || asTable || isEmpty, run: () => saved(`${file}.svg`, exportSvg(), "image/svg+xml") },
    { text: "Download CSV", disabled: !data, run: async () => saved(`${file}.csv`, props.onCsv ? await props.onCsv() : csv(/** @type {ChartData} */ (data), xName(xKind), names), "text/csv") },
    props.python && { text: "Copy as Python", run: () => copied(props.python ?? "") },
    { text: "Copy link", run: () => copied(props.link ?? location.href) },
  ];
  const lost = data && logY ? unseen(data) : 0;
  const failed = data?.curves.filter((curve) => curve.error) ?? [];
  return html`<section class=${cls("card chart", props.isFull && "full")} ref=${card} aria-label=${title}>
    <header class="card-head">
      <h3><${Path} path=${title} /></h3>
      <span class="grow"></span>
      ${state.isLoading && data && html`<span class="busy" role="status"><span class="spoken">Loading</span></span>`}
      ${zoom && html`<${Button} kind="quiet small" title="Show the whole range (0)" onClick=${() => props.onZoom?.(null)}>Reset zoom</${Button}>`}
      ${zoom && props.isLive && html`<span class="badge" title="New points are not shown while you are zoomed in">paused</span>`}
      ${props.onFull && html`<${Button} kind="quiet small" label=${props.isFull ? "Leave full screen" : `Show ${title} in full screen`} onClick=${props.onFull}>${props.isFull ? "✕" : "⤢"}</${Button}>`}
      <${Menu} items=${actions} label="⋯" title=${`Options of ${title}`} kind="quiet small" />
    </header>
    ${error && html`<${Failure} error=${error} onRetry=${state.again} />`}
    ${!data && !error && html`<div class="chart-wait" style=${{ height: `${height}px` }}>${isSeen && html`<${Skeleton} lines=${4} />`}</div>`}
    ${isEmpty && html`<div style=${{ height: `${height}px` }}><${Empty} title="No points here" /></div>`}
    ${data && asTable && html`<${Numbers} data=${data} names=${names} />`}
    <div class="chart-area" hidden=${!data || asTable || isEmpty} onKeyDown=${keys}
      onMouseLeave=${() => props.onHighlight?.(null)}
      onClick=${() => hover && props.onSelectX?.(hover.x)}>
      <div class="chart-canvas" ref=${canvas} role="img" tabindex=${props.onZoom ? 0 : -1} aria-label=${data ? spoken(title, data, names) : title}></div>
      ${hover && hover.isOwn && data && html`<${HoverTable} hover=${hover} names=${names} paint=${paint} xKind=${xKind} width=${width} exact=${props.exact} />`}
    </div>
    ${data && !isEmpty && html`<footer class="card-foot faint">
      ${!props.isFull && paint.length > 1 && paint.length <= 6 || props.isFull ? html`<${Legend} paint=${paint.slice(0, 40)} onHighlight=${props.onHighlight} />` : ""}
      <span>${sentence(data)}</span>
      ${clip && html` <span class="warn-text">${clip.beyond.toLocaleString("en")} values lie beyond the clipped axis.</span>`}
      ${lost > 0 && html` <span class="warn-text">${lost.toLocaleString("en")} values of zero or less cannot be drawn on a log axis.</span>`}
      ${data.marks.length > 0 && html` <span class="warn-text">${markText(data.marks)}</span>`}
      ${failed.map((curve) => html` <span class="bad-text" key=${curve.key}>${names.get(curve.key) ?? curve.key}: ${curve.error}</span>`)}
    </footer>`}
  </section>`;
}

/** @param {import("../lib/chartdata.js").Mark[]} marks */
function markText(marks) {
  const count = (sign) => marks.filter((mark) => mark.sign === sign).length;
  return [["nan", "NaN (×)"], ["+inf", "+∞ (▲)"], ["-inf", "−∞ (▼)"]].map(([sign, name]) => [count(sign), name])
    .filter(([n]) => n).map(([n, name]) => `${n} ${name}`).join(", ") + " marked.";
}

/** @param {ChartData|undefined} data @param {Source[]} sources */
function paints(data, sources) {
  if (!data) return [];
  const there = new Set(data.curves.map((curve) => curve.key));
  const shown = sources.filter((source) => there.has(source.key));
  const dash = dashes(shown.map((source) => source.key));
  return shown.map((source) => ({ ...source, dash: shown.length > MANY ? [] : dash.get(source.key) }));
}

/** @param {ChartData} data */
function unseen(data) {
  let count = 0;
  for (const curve of data.curves) {
    const column = curve.low ?? curve.line;
    for (let i = 0; i < column.length; i++) if (column[i] <= 0) count += 1;
  }
  return count;
}

/** The values at the cursor, sorted; the stored 64-bit value and real step of the nearest curve once it is known. */
function HoverTable({ hover, names, paint, xKind, width, exact }) {
  const [real, setReal] = useState(/** @type {any} */ (null));
  useEffect(() => {
    setReal(null);
    if (!exact || !hover.key) return undefined;
    let isGone = false;
    const timer = setTimeout(async () => {
      const found = await exact(hover.key, hover.values.find((v) => v.key === hover.key)?.x ?? hover.x).catch(() => null);
      if (!isGone) setReal(found);
    }, 60);
    return () => {
      isGone = true;
      clearTimeout(timer);
    };
  }, [hover.key, hover.index]);
  const colors = new Map(paint.map((item) => [item.key, item.color]));
  const sorted = [...hover.values].sort((a, b) => b.value - a.value);
  const at = Math.max(0, sorted.findIndex((v) => v.key === hover.key));
  const from = Math.max(0, Math.min(at - Math.floor(ROWS / 2), sorted.length - ROWS));
  const shown = sorted.slice(from, from + ROWS);
  const isRight = hover.left > width / 2;
  return html`<div class="hover-table" style=${isRight ? { left: "52px" } : { right: "10px" }} aria-hidden="true">
    <div class="faint">${xName(xKind)} ${xText(xKind, real?.x ?? hover.x)}</div>
    <table><tbody>${shown.map((row) => html`<tr key=${row.key} class=${cls(row.key === hover.key && "strong")}>
      <td><span class="swatch" style=${{ color: colors.get(row.key) }}></span></td>
      <td class="name">${visible(names.get(row.key) ?? row.key)}</td>
      <td class="end">${row.key === hover.key && real ? whole(real.value) : short(row.value)}</td>
      ${row.low !== undefined && row.low !== row.high && html`<td class="end faint">${short(row.low)} – ${short(row.high)}</td>`}
    </tr>`)}</tbody></table>
    ${sorted.length > ROWS && html`<div class="faint">${sorted.length - ROWS} more</div>`}
  </div>`;
}

const Legend = ({ paint, onHighlight }) => html`<ul class="legend">${paint.map((item) => html`<li key=${item.key}
  onMouseEnter=${() => onHighlight?.(item.key)} onMouseLeave=${() => onHighlight?.(null)}>
  <svg width="18" height="8" aria-hidden="true"><line x1="0" x2="18" y1="4" y2="4" stroke="currentColor" style=${{ color: item.color }} stroke-width="2"
    stroke-dasharray=${item.dash?.join(" ") || undefined} /></svg>
  <span class="name" title=${item.label}>${visible(item.label)}</span></li>`)}</ul>`;

const Numbers = ({ data, names }) => html`<div class="numbers" tabindex="0" role="group" aria-label="Values"><table class="plain"><thead><tr><th scope="col">curve</th>
  <th scope="col" class="end">points</th><th scope="col" class="end">last</th><th scope="col" class="end">minimum</th><th scope="col" class="end">maximum</th></tr></thead>
  <tbody>${data.curves.map((curve) => {
    const { last, min, max } = extremes(curve);
    return html`<tr key=${curve.key}><th scope="row">${visible(names.get(curve.key) ?? curve.key)}</th><td class="end">${curve.points.toLocaleString("en")}</td>
      <td class="end" title=${whole(last)}>${short(last)}</td><td class="end" title=${whole(min)}>${short(min)}</td><td class="end" title=${whole(max)}>${short(max)}</td></tr>`;
  })}</tbody></table></div>`;

/** Whether the page is dark, followed: canvases are painted again when the theme changes. */
function useTheme() {
  const query = "(prefers-color-scheme: dark)";
  const read = () => `${document.documentElement.dataset.theme ?? ""} ${matchMedia(query).matches}`;
  const [theme, setTheme] = useState(read);
  useEffect(() => {
    const follow = () => setTheme(read());
    const media = matchMedia(query);
    media.addEventListener("change", follow);
    addEventListener("naiad-theme", follow);
    return () => {
      media.removeEventListener("change", follow);
      removeEventListener("naiad-theme", follow);
    };
  }, []);
  return theme;
}

/** A line of the size of a word, for table cells. @param {{values: ArrayLike<number>, color?: string, label?: string}} props */
export function Sparkline({ values, color = "var(--accent)", label = "" }) {
  const finite = Array.from(values).filter(Number.isFinite);
  if (!finite.length) return html`<span class="faint">–</span>`;
  const low = Math.min(...finite), high = Math.max(...finite), span = high - low || 1;
  const at = (i) => (values.length < 2 ? 50 : (i / (values.length - 1)) * 100);
  const points = Array.from(values, (v, i) => (Number.isFinite(v) ? `${at(i).toFixed(1)},${(18 - ((v - low) / span) * 16).toFixed(1)}` : null)).filter(Boolean);
  return html`<svg class="spark" viewBox="0 0 100 20" preserveAspectRatio="none" role="img" aria-label=${label || `from ${short(finite[0])} to ${short(finite[finite.length - 1])}`}>
    <polyline points=${points.join(" ")} fill="none" stroke="currentColor" style=${{ color }} stroke-width="1.4" vector-effect="non-scaling-stroke" /></svg>`;
}
