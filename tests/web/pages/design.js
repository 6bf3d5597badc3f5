/** The design page: every widget in every state, in both themes. The tests look at it, and so should whoever changes one. */
import { html, render, useCallback, useMemo, useState } from "../../../core/naiad_web/pages/lib/html.js";
import { HUES, color } from "../../../core/naiad_web/pages/lib/color.js";
import { plain, Log } from "../../../core/naiad_web/pages/widgets/log.js";
import { usePlace } from "../../../core/naiad_web/pages/lib/place.js";
import { themed } from "../../../core/naiad_web/pages/screens/shell.js";
import { short, visible } from "../../../core/naiad_web/pages/lib/format.js";
import { Button, Choice, Copy, Empty, Failure, Menu, Path, Popover, STATES, Skeleton, State, Swatch, Tag, Toggle } from "../../../core/naiad_web/pages/widgets/controls.js";
import { ColumnPicker, Table, nextSort, Tree } from "../../../core/naiad_web/pages/widgets/lists.js";
import { Chart, Sparkline } from "../../../core/naiad_web/pages/widgets/chart.js";
import { FrameControls, ImageGrid, StepSlider, Swipe } from "../../../core/naiad_web/pages/widgets/images.js";
import { Code, Diff, parsed } from "../../../core/naiad_web/pages/widgets/code.js";
import { Parallel, Scatter } from "../../../core/naiad_web/pages/widgets/spread.js";
import { Json, Markdown, Sheet } from "../../../core/naiad_web/pages/widgets/document.js";

/** A repeatable stream of numbers from 0 to 1. @param {number} seed */
function random(seed) {
  return () => {
    seed = (seed * 1664525 + 1013904223) >>> 0;
    return seed / 4294967296;
  };
}

const HOSTILE = '<img src=x onerror="alert(1)">\u202egnp.exe';
const RUNS = Array.from({ length: 50 }, (_, i) => ({ id: `DIGITS-${i + 1}`, label: i === 3 ? HOSTILE : ["baseline", "wide", "deep", "cosine"][i % 4] + `-${i + 1}` }));

/** @param {number} runs @param {number} points @param {any} [extra] */
function curves(runs, points, extra = {}) {
  const next = random(7 + runs);
  const x = Float64Array.from({ length: points }, (_, i) => i * (extra.every ?? 1));
  return {
    x, marks: extra.marks ?? [], buckets: extra.buckets ?? points, points: extra.points ?? runs * points, isRaw: extra.isRaw ?? true, smoothing: extra.smoothing,
    curves: RUNS.slice(0, runs).map((run, k) => {
      const rate = 2 + 4 * next(), floor = 0.1 + 0.4 * next();
      const line = Float64Array.from({ length: points }, (_, i) => floor + 2 * Math.exp((-rate * i) / points) + 0.08 * (next() - 0.5));
      if (extra.spike && k === 0) line[Math.floor(points * 0.62)] = 9;
      if (extra.negative) line[5] = -1;
      const band = extra.band ? { low: line.map((v) => v - 0.15 - 0.1 * next()), high: line.map((v) => v + 0.15 + 0.1 * next()) } : {};
      return { key: run.id, line, points: extra.points ?? points, ...band };
    }),
  };
}

const sources = (count) => RUNS.slice(0, count).map((run, i) => ({ key: run.id, label: run.label, color: color(run.id) }));
const never = () => new Promise(() => undefined);
const fails = () => Promise.reject(new Error("The file of \"train/loss\" is damaged: its checksum differs. Try naiad verify DIGITS-7."));

/** @param {any} props */
function Sample({ title, count = 1, data, ...rest }) {
  const load = useCallback(data, [title]);
  const [zoom, setZoom] = useState(/** @type {any} */ (null));
  const list = useMemo(() => sources(count), [count]);
  return html`<${Chart} title=${title} sources=${list} load=${load} eager=${true} height=${150} sync="design" zoom=${rest.zoom ?? zoom} onZoom=${setZoom}
    onPin=${() => undefined} onFull=${() => undefined} ...${rest} />`;
}

const now = async (data) => data;

function Charts() {
  return html`<div class="charts">
    <${Sample} title="train/loss" data=${() => now(curves(1, 300))} />
    <${Sample} title="train/loss, a spike among 1,000,000 points" data=${() => now(curves(1, 2000, { spike: true, points: 1_000_000, isRaw: false, buckets: 1000, every: 500 }))} />
    <${Sample} title="smoothed, with its raw envelope" count=${2} data=${() => now(curves(2, 400, { band: true, isRaw: false, buckets: 200, points: 40_000, smoothing: 0.9 }))} />
    <${Sample} title="validation/accuracy of five" count=${5} data=${() => now(curves(5, 100))} />
    <${Sample} title="fifty runs" count=${50} data=${() => now(curves(50, 200))} />
    <${Sample} title="groups of runs, with bands" count=${3} data=${() => now(curves(3, 200, { band: true }))} />
    <${Sample} title="log axes" logY=${true} logX=${true} data=${() => now(curves(1, 300))} />
    <${Sample} title="log axis with a negative value" logY=${true} data=${() => now(curves(1, 300, { negative: true }))} />
    <${Sample} title="NaN and infinities" data=${() => now(curves(1, 60, { marks: [{ key: "DIGITS-1", x: 20, sign: "nan" }, { key: "DIGITS-1", x: 35, sign: "+inf" }, { key: "DIGITS-1", x: 50, sign: "-inf" }] }))} />
    <${Sample} title="clipped" clip=${true} data=${() => now(curves(1, 300, { spike: true }))} />
    <${Sample} title="zoomed, of a running run" zoom=${[50, 120]} isLive=${true} data=${() => now(curves(1, 300))} />
    <${Sample} title="one point" data=${() => now(curves(1, 1))} />
    <${Sample} title="no points" data=${() => now({ x: [], curves: [{ key: "DIGITS-1", line: [], points: 0 }], marks: [], buckets: 1000, points: 0, isRaw: true })} />
    <${Sample} title="loading" data=${never} />
    <${Sample} title="failed" data=${fails} />
  </div>`;
}

const ROWS = Array.from({ length: 10_000 }, (_, i) => ({ id: `DIGITS-${10_000 - i}`, i, label: i === 3 ? HOSTILE : `run ${i}`, state: Object.keys(STATES)[i % 8], lr: 10 ** -(1 + (i % 5)), loss: Math.abs(Math.sin(i)) }));
const COLUMNS = [
  { key: "sys/id", title: "id", width: 120, pinned: true }, { key: "sys/name", title: "name", width: 150 }, { key: "sys/state", title: "state", width: 110 },
  { key: "sys/tags", title: "tags", width: 130 }, { key: "params/lr", title: "params/lr", width: 90, align: "end" },
  { key: "train/loss:min", title: "train/loss:min", width: 120, align: "end" }, { key: "spark", title: "train/loss", width: 120, sortable: false },
];

/** @param {{count: number}} props */
function SampleTable({ count }) {
  const [columns, setColumns] = useState(/** @type {any[]} */ (COLUMNS));
  const [sort, setSort] = useState([{ key: "sys/id", desc: true }]);
  const [selected, setSelected] = useState(new Set(["DIGITS-9999"]));
  const cell = (row, column) => {
    if (row === null) return "";
    if (column.key === "sys/id") return html`<${Swatch} id=${row.id} /> ${row.id}`;
    if (column.key === "sys/name") return visible(row.label);
    if (column.key === "sys/state") return html`<${State} state=${row.state} age=${12} />`;
    if (column.key === "sys/tags") return html`<span class="tags"><${Tag} text="baseline" /></span>`;
    if (column.key === "spark") return html`<${Sparkline} values=${[3, 2, 1.6, 1.3, 1.2, 1 + row.loss]} color=${color(row.id)} />`;
    return short(column.key === "params/lr" ? row.lr : row.loss);
  };
  return html`<div style=${{ height: "220px", display: "flex", flexDirection: "column" }}><${Table} label=${`Sample of ${count} rows`} columns=${columns} count=${count}
    row=${(i) => (i === 5 ? null : ROWS[i])} rowKey=${(row) => row.id} cell=${cell} sort=${sort} onSort=${(key, add) => setSort(nextSort(sort, key, add))}
    onColumns=${setColumns} selected=${selected} onSelect=${(key) => setSelected((s) => { const next = new Set(s); if (!next.delete(key)) next.add(key); return next; })} /></div>`;
}

const LEAVES = Array.from({ length: 10_000 }, (_, i) => ({ path: `layers/block${String(i % 40).padStart(2, "0")}/w${i}/${["norm", "mean", "lr"][i % 3]}`, kind: ["float_series", "float", "string"][i % 3] }))
  .concat([{ path: HOSTILE, kind: "string" }, { path: "train/loss", kind: "float_series" }]);

function SampleTree() {
  const [open, setOpen] = useState(new Set(["layers", "layers/block00"]));
  return html`<${Tree} label="Fields" leaves=${LEAVES} open=${open} onOpen=${setOpen} value=${(leaf) => leaf.kind} selected="train/loss" onSelect=${() => undefined} height="220px" />`;
}

const ESC = "\u001b";
const text = (i) => [
  `INFO epoch ${i} loss=${(1 / (1 + i)).toFixed(4)}`, `${ESC}[32mDONE${ESC}[0m step ${i} ${ESC}[1;34msaved${ESC}[0m`, `WARNING lr is high at ${i}`, `ERROR ${HOSTILE} ${i}`,
  `${ESC}]0;title\u0007${ESC}[38;5;208mbar${ESC}[0m ▇▇▇▇▁▁ ${i % 100}%`,
][i % 5];

/** @param {{count: number}} props */
function SampleLog({ count }) {
  const [follow, setFollow] = useState(false);
  const fetch = useCallback(async (first, n) => Array.from({ length: Math.min(n, count - first) }, (_, k) => ({ text: text(first + k), time: 1796004445000 + (first + k) * 800 })), [count]);
  const search = useCallback(async (word) => {
    const lines = [];
    for (let i = 0; i < Math.min(count, 20_000); i++) if (plain(text(i)).includes(word)) lines.push(i);
    return { lines, total: lines.length };
  }, [count]);
  return html`<${Log} label=${`Log of ${count}`} count=${count} fetch=${fetch} search=${search} height=${190} follow=${follow} onFollow=${setFollow} line=${count > 3 ? 2 : -1} />`;
}

/** A small picture drawn here. @param {number} seed */
function drawn(seed) {
  return async () => {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = 28;
    const ctx = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    const next = random(seed);
    for (let y = 0; y < 28; y++) for (let x = 0; x < 28; x++) {
      const v = Math.round(255 * Math.max(0, 1 - Math.hypot(x - 14 - 5 * Math.sin(seed), y - 14) / 12) * (0.7 + 0.3 * next()));
      ctx.fillStyle = `rgb(${v},${v},${v})`;
      ctx.fillRect(x, y, 1, 1);
    }
    return canvas.toDataURL();
  };
}

function SampleImages() {
  const [step, setStep] = useState(30);
  const [frame, setFrame] = useState({ scale: 1, x: 0, y: 0 });
  const steps = [0, 10, 20, 30, 40, 50];
  const pictures = ["samples/input", "samples/output", HOSTILE].map((title, i) => ({ key: `${title} ${step}`, title, caption: i === 1 ? "digit 7, predicted 1" : "", color: color(`DIGITS-${i}`), url: drawn(i + step) }));
  return html`<${StepSlider} steps=${steps} value=${step} onChange=${setStep} /><${FrameControls} frame=${frame} onFrame=${setFrame} />
    <${ImageGrid} size=${130} pictures=${[...pictures, { key: "none", title: "missing", url: never, isMissing: true }, { key: "wait", title: "loading", url: never },
      { key: "bad", title: "failed", url: fails }]} frame=${frame} onFrame=${setFrame} />
    <${StepSlider} steps=${[7]} value=${7} onChange=${setStep} label="Only step" />
    <div style=${{ maxWidth: "220px" }}><${Swipe} left=${pictures[0]} right=${pictures[1]} mode="swipe" /></div><${ImageGrid} pictures=${[]} />`;
}

const PROGRAM = `import naiad\n\n@cached\ndef train(lr: float = 0.01) -> None:\n    """Fit ${HOSTILE}."""\n    run = naiad.init_run(tags=["baseline"])  # one run\n    for step in range(100):\n        run["train/loss"].append(1 / (step + 1), step=step)\n`;
const PATCH = `diff --git a/train.py b/train.py\n--- a/train.py\n+++ b/train.py\n@@ -3,5 +3,6 @@ def train():\n import naiad\n-lr = 0.01\n+lr = 0.003\n for step in range(100):\n-    pass\n+    step()\n+    log()\n`;

function SampleSpread() {
  const next = random(3);
  const items = RUNS.map((run) => ({ id: run.id, label: run.label, color: color(run.id) }));
  const [at, setAt] = useState(/** @type {string|null} */ (null));
  const axes = useMemo(() => [
    { key: "params/lr", values: items.map((_, i) => 10 ** -(1 + (i % 5))) }, { key: "params/optimizer", values: items.map((_, i) => ["adam", "sgd", HOSTILE][i % 3]) },
    { key: "params/depth", values: items.map((_, i) => (i === 9 ? null : 2 + (i % 7))) }, { key: "score", values: items.map(() => next()) },
  ], []);
  return html`<${Parallel} items=${items} axes=${axes} height=${220} highlighted=${at} onHighlight=${setAt} onMove=${() => undefined} />
    <${Scatter} items=${items} x=${axes[0]} y=${axes[3]} logX=${true} height=${220} highlighted=${at} onHighlight=${setAt} />`;
}

function Controls() {
  const [choice, setChoice] = useState("step");
  const [on, setOn] = useState(true);
  return html`<div class="bar"><${Button}>Plain</${Button}><${Button} kind="primary">Primary</${Button}><${Button} kind="quiet">Quiet</${Button}><${Button} kind="danger">Danger</${Button}>
      <${Button} disabled=${true}>Disabled</${Button}><${Button} pressed=${true}>Pressed</${Button}><${Copy} text=${() => "copied"} label="Copy a text" />
      <${Toggle} on=${on} onChange=${setOn}>toggle</${Toggle}><${Choice} label="Axis" value=${choice} onChange=${setChoice} options=${[["step", "step"], ["relative", "relative"], ["time", "time"]]} />
      <${Menu} label="⋯" title="Menu" items=${[{ text: "First", keys: "f", run: () => undefined }, { text: "Second", disabled: true, run: () => undefined }]} />
      <${Popover} label="Columns" name="Columns">${() => html`<${ColumnPicker} fields=${COLUMNS} columns=${COLUMNS} onChange=${() => undefined} />`}</${Popover}>
      <input class="input" placeholder="Input" aria-label="Input" /></div>
    <div class="bar">${Object.keys(STATES).map((state) => html`<${State} key=${state} state=${state} age=${75} />`)}</div>
    <div class="bar"><${Tag} text="baseline" /><${Tag} text="on" on=${true} onClick=${() => undefined} /><${Tag} text=${HOSTILE} onRemove=${() => undefined} /><kbd>g r</kbd><${Path} path="train/epoch/loss" /><span class="badge">paused</span></div>
    <div class="swatches">${Array.from({ length: HUES }, (_, i) => html`<i key=${i} style=${{ color: `var(--run-${i})` }} title=${`run ${i}`}></i>`)}</div>
    <div class="columns-2"><div class="card"><${Skeleton} /></div><div class="card"><${Empty} title="No runs match">Remove a filter to see more.</${Empty}></div><${Failure} error="The store is not there any more." onRetry=${() => undefined} /></div>`;
}

const PARTS = [
  ["Controls", Controls], ["Charts", Charts], ["Table of 10,000", () => html`<${SampleTable} count=${10_000} />`],
  ["Table of one, and of none", () => html`<${SampleTable} count=${1} /><${SampleTable} count=${0} />`],
  ["Tree of 10,000", SampleTree], ["Log of a million", () => html`<${SampleLog} count=${1_000_000} />`], ["Log of two, and of none", () => html`<${SampleLog} count=${2} /><${SampleLog} count=${0} />`],
  ["Images", SampleImages], ["Code and differences", () => html`<${Code} name="train.py" text=${PROGRAM} />${parsed(PATCH).map((file) => html`<${Diff} key=${file.name} name=${file.name} hunks=${file.hunks} />`)}<${Diff} name="same.py" hunks=${[]} />`],
  ["Documents", () => html`<div class="card card-body"><${Json} value=${{ lr: 0.01, layers: [64, 32], name: HOSTILE, nested: { deep: null, on: true } }} /></div>
    <div class="card card-body"><${Markdown} text=${`# Notes\n\nA *plain* **list** with \`code\` and ${HOSTILE}:\n\n- one\n- [a link](javascript:alert(1))\n\n\`\`\`\nx = 1\n\`\`\``} /></div>
    <div class="card card-body"><${Sheet} columns=${["a", HOSTILE]} rows=${[["1", "=1+1"], ["2", ""]]} total=${1000} /></div>`],
  ["Parallel coordinates and scatter", SampleSpread],
];

/** The page: every part, or that which the address names, as `/design?m=Table`. */
function Design() {
  const { m } = usePlace().params;
  const parts = PARTS.filter(([name]) => !m || String(name).startsWith(m));
  return html`<div class="page"><div class="page-head"><h1>Design</h1><span class="faint">Every widget in every state, light and dark.</span></div>
    ${parts.map(([name, Part]) => html`<section key=${name} aria-label=${name} class="section"><h2>${name}</h2>
      <div class="design-pair">${["light", "dark"].map((theme) => html`<div key=${theme} data-theme=${theme} class="design-grid" role="group" aria-label=${`${name}, ${theme}`}><${Part} /></div>`)}</div></section>`)}
  </div>`;
}

themed();
render(html`<main class="main" id="main"><${Design} /></main>`, /** @type {HTMLElement} */ (document.getElementById("app")));
