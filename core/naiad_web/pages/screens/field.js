/** One field in its own form, by its kind: numbers, lines of a console, histograms, images, and files of every type. */
import { html, useCallback, useMemo, useRef, useState, useEffect } from "../lib/html.js";
import { change, href } from "../lib/place.js";
import { counted, short, size, visible, whole } from "../lib/format.js";
import { source } from "../lib/source.js";
import { Copy, Failure, Skeleton, Tag, useLoaded, Button, Empty, waiting } from "../widgets/controls.js";
import { Log, PIECE } from "../widgets/log.js";
import { ImageGrid, StepSlider, nearest, View } from "../widgets/images.js";
import { Board } from "./board.js";
import { shown, typed } from "./cells.js";
import { Code } from "../widgets/code.js";
import { Json, Markdown, Notebook, Sheet } from "../widgets/document.js";

/** The read call that gives the same value. @param {string} run @param {string} path @param {string} kind */
export function python(run, path, kind) {
  const fetch = kind.endsWith("series") ? "fetch_values()" : kind === "file" || kind === "file_set" || kind === "artifact" ? "download()" : "fetch()";
  return `import naiad\n\nrun = naiad.init_run(with_id=${JSON.stringify(run)}, mode="read-only")\nvalue = run[${JSON.stringify(path)}].${fetch}\nrun.stop()\n`;
}

/** @param {{run: any, path: string, place: any, version?: any}} props */
export function FieldView({ run, path, place, version }) {
  const loaded = useLoaded((signal) => source.get(`/containers/${encodeURIComponent(run.uid)}/value`, { path }, signal), [run.uid, path], version);
  const field = loaded.data?.path === path ? loaded.data : null;
  if (loaded.error || !field) return waiting(loaded, 5);
  return html`<section class="section" aria-label=${`Field ${path}`}>
    <div class="bar"><h2 class="path">${visible(path)}</h2><span class="faint">${typed(field.kind, field.type)}</span><span class="grow"></span>
      <${Copy} text=${() => path} label="Copy path">Copy path</${Copy}><${Copy} text=${() => python(run.id, path, field.kind)} label="Copy as Python">Copy as Python</${Copy}></div>
    ${field.error ? html`<${Failure} error=${field.error.detail} />` : html`<${Body} run=${run} field=${field} place=${place} />`}
  </section>`;
}

function Body({ run, field, place }) {
  const { kind, path } = field;
  const runs = useMemo(() => [{ id: run.id, uid: run.uid, label: run.name || run.id }], [run.uid]);
  const paths = useMemo(() => [path], [path]);
  if (kind === "float_series") return html`<dl class="facts">${[["last", field.last?.value], ["step", field.last?.step], ["minimum", field.min], ["maximum", field.max], ["average", field.average], ["points", field.count]]
    .filter(([, value]) => value !== null && value !== undefined).map(([name, value]) => html`<dt key=${name}>${name}</dt><dd class="number">${whole(value)}</dd>`)}</dl>
    <${Board} runs=${runs} paths=${paths} params=${{ ...place.params, m: "", full: "" }} height=${260} />`;
  if (kind === "string_series") return html`<${RunLog} run=${run} path=${path} place=${place} height="60vh" />`;
  if (kind === "histogram_series") return html`<${Histograms} run=${run} path=${path} place=${place} />`;
  if (kind === "file_series") return html`<${FileSeries} run=${run} path=${path} place=${place} />`;
  if (kind === "file") return html`<${FileView} address=${{ run: run.uid, path }} file=${field} />`;
  if (kind === "file_set") return html`<${FileSet} run=${run.uid} path=${path} entry=${place.params.entry} onEntry=${(entry) => change({ entry })} />`;
  if (kind === "artifact") return html`<${Artifact} run=${run.uid} path=${path} />`;
  if (kind === "git_ref") return html`<${GitRef} field=${field} />`;
  if (kind === "string_set") return html`<div class="tags">${(field.value ?? []).map((text) => html`<${Tag} key=${text} text=${text} />`)}</div><${Copy} text=${() => (field.value ?? []).join("\n")} label="Copy value">Copy value</${Copy}>`;
  const text = field.value === null || field.value === undefined ? "" : String(field.value);
  return html`<div class="whole" tabindex="0" role="group" aria-label="Value">${visible(text) || html`<span class="faint">empty</span>`}</div><div class="bar"><${Copy} text=${() => text} label="Copy value">Copy value</${Copy}>
    ${kind === "datetime" && html`<span class="faint">${shown(text, kind)}</span>`}</div>`;
}

/** @param {{field: any}} props */
export const GitRef = ({ field }) => html`<dl class="facts">${[["commit", field.commit_id], ["branch", field.branch], ["message", field.message], ["author", [field.author_name, field.author_email && `<${field.author_email}>`].filter(Boolean).join(" ")],
  ["date", field.commit_date], ["uncommitted changes", field.is_dirty === undefined || field.is_dirty === null ? null : field.is_dirty ? "yes" : "none"], ["remotes", Array.isArray(field.remotes) ? field.remotes.join(", ") : field.remotes]]
  .filter(([, value]) => value).map(([name, value]) => html`<dt key=${name}>${name}</dt><dd class=${name === "commit" ? "mono" : undefined}>${visible(value)}</dd>`)}</dl>`;

const linesOf = (page) => page.texts.map((text, i) => ({ text, step: page.steps[i], time: page.times[i] }));

/** Lines of a string series, fetched as they come into view. @param {{run: any, path: string, place: any, height?: any, version?: number, onLine?: (line: number, value: any) => void, count?: number}} props */
export function RunLog({ run, path, place, height, version = 0, onLine }) {
  const { params } = place;
  const isFollowed = params.follow || (params.line < 0 && !params.find && run.state === "running");
  // The answer that says how many lines there are has those that are shown first, so that opening a log is one request.
  const first = useRef({ start: 0, total: 0, lines: /** @type {any[]} */ ([]) });
  const about = useLoaded(async (signal) => {
    const page = await source.get("/lines", { run: run.uid, path, start: isFollowed ? -2 * PIECE : 0, limit: 2 * PIECE }, signal);
    first.current = { start: page.start, total: page.total, lines: linesOf(page) };
    return page.total;
  }, [run.uid, path], version);
  const fetch = useCallback(async (start, limit) => {
    const { start: from, total, lines } = first.current;
    if (start >= from && Math.min(start + limit, total) <= from + lines.length) return lines.slice(start - from, start - from + limit);
    return linesOf(await source.get("/lines", { run: run.uid, path, start, limit }));
  }, [run.uid, path]);
  const search = useCallback(async (text, signal) => {
    const lines = [];
    let total = 0;
    // A search that takes long is answered in parts: only after the last of them is it known what is not there.
    for (let start = 0; ;) {
      const answer = await source.get("/lines", { run: run.uid, path, search: text, start, limit: 10_000 }, signal);
      lines.push(...answer.matches);
      total += answer.found;
      if (answer.is_complete || !(answer.searched > start)) return { lines, total };
      start = answer.searched;
    }
  }, [run.uid, path]);
  if (about.error || about.data === undefined) return waiting(about, 8);
  return html`<${Log} key=${path} label=${path} count=${about.data} fetch=${fetch} search=${search} height=${height} showStep=${params.mode === "steps"} onStep=${(on) => change({ mode: on ? "steps" : "" }, { replace: true })} version=${version} line=${params.line} find=${params.find}
    onLine=${(line, value) => { change({ line }); onLine?.(line, value); }} onFind=${(find) => change({ find }, { replace: true })}
    follow=${isFollowed} onFollow=${(follow) => change({ follow, line: -1 }, { replace: true })} />`;
}

/** Histograms over steps: bars of one step, and all of them as a shade from left to right. @param {any} props */
function Histograms({ run, path, place }) {
  const loaded = useLoaded((signal) => source.get("/histograms", { run: run.uid, path, limit: 120 }, signal), [run.uid, path]);
  if (loaded.error || !loaded.data) return waiting(loaded, 6);
  const { steps, histograms, total } = loaded.data;
  const numbers = steps.map(Number);
  const at = nearest(numbers, place.params.step);
  const one = histograms[at];
  if (!one) return html`<p class="faint">No histograms.</p>`;
  const heights = one.counts ?? one.densities ?? [];
  const most = Math.max(...heights.map(Number), 1e-300);
  const low = Number(one.edges[0]), high = Number(one.edges[one.edges.length - 1]), span = high - low || 1;
  return html`<${StepSlider} steps=${numbers} value=${numbers[at]} onChange=${(step) => change({ step }, { replace: true })} />
    <svg viewBox="0 0 600 220" role="img" aria-label=${`Histogram at step ${steps[at]}: ${heights.length} bins from ${short(low)} to ${short(high)}`} style=${{ width: "100%", maxHeight: "320px", color: "var(--accent)" }}>
      ${heights.map((count, i) => {
        const x0 = 10 + (580 * (Number(one.edges[i]) - low)) / span, x1 = 10 + (580 * (Number(one.edges[i + 1]) - low)) / span;
        const h = (190 * Number(count)) / most;
        return html`<rect key=${i} x=${x0} y=${200 - h} width=${Math.max(0.5, x1 - x0 - 1)} height=${h} fill="currentColor"><title>${`${short(Number(one.edges[i]))} to ${short(Number(one.edges[i + 1]))}: ${whole(count)}`}</title></rect>`;
      })}
      <text x="10" y="216" font-size="11" fill="var(--ink-3)">${short(low)}</text><text x="590" y="216" text-anchor="end" font-size="11" fill="var(--ink-3)">${short(high)}</text></svg>
    <p class="faint">${counted(Number(total), "histogram")}${histograms.length < total ? `, ${histograms.length} of them here` : ""}.</p>`;
}

/** Entries of a file series over steps. @param {any} props */
export function FileSeries({ run, path, place }) {
  const loaded = useLoaded((signal) => source.get("/entries", { run: run.uid, path, limit: 5000 }, signal), [run.uid, path]);
  if (loaded.error || !loaded.data) return waiting(loaded, 5);
  const { files, steps, start } = loaded.data;
  const numbers = steps.map(Number);
  const index = nearest(numbers, place.params.step);
  const file = files[index];
  if (!file) return html`<p class="faint">No files.</p>`;
  const isImages = files.every((one) => one.shown_as === "image" || one.shown_as === "svg");
  return html`<${StepSlider} steps=${numbers} value=${numbers[index]} onChange=${(step) => change({ step }, { replace: true })} />
    <${FileView} address=${{ run: run.uid, path, index: start + index }} file=${file} />
    ${isImages && files.length > 1 && html`<${ImageGrid} size=${120} pictures=${files.slice(0, 60).map((one, i) => ({ key: `${path} ${i}`, title: `step ${steps[i]}`, caption: one.description ?? "", url: () => contentUrl({ run: run.uid, path, index: start + i }) }))}
      onOpen=${(picture) => change({ step: numbers[Number(picture.key.split(" ").pop())] })} />`}`;
}

/** Files of tracked data with their hashes, and every run that used the same. @param {{run: string, path: string}} props */
export function Artifact({ run, path }) {
  const [search, setSearch] = useState("");
  const loaded = useLoaded((signal) => source.get("/artifact", { run, path, search, limit: 2000 }, signal), [run, path, search]);
  const users = useLoaded(async (signal) => (loaded.data ? (await source.get("/artifact/users", { hash: loaded.data.hash }, signal)).users : []), [loaded.data?.hash]);
  if (loaded.error || !loaded.data) return waiting(loaded);
  const { hash, files, total } = loaded.data;
  return html`<dl class="facts"><dt>hash</dt><dd class="mono">${hash}</dd><dt>files</dt><dd>${total.toLocaleString("en")}, ${size(loaded.data.size)}</dd></dl>
    <div class="section"><p class="eyebrow">Used by</p><div class="tags">${(users.data ?? []).map((user) => html`<a key=${user.uid + user.path} class="tag" href=${href({ screen: user.kind === "run" ? "run" : "model", project: user.project, id: user.id })} title=${user.path}>${visible(user.id)}${user.name ? ` ${visible(user.name)}` : ""}</a>`)}</div></div>
    <input class="input" type="search" placeholder="Search files" aria-label="Search files" value=${search} onInput=${(e) => setSearch(e.target.value)} />
    <div style=${{ overflow: "auto", maxHeight: "60vh" }} tabindex="0" role="group" aria-label="Files"><table class="plain"><thead><tr><th scope="col">file</th><th scope="col" class="end">size</th><th scope="col">modified</th><th scope="col">hash</th><th scope="col">where</th></tr></thead>
      <tbody>${files.map((file) => html`<tr key=${file.name + file.location}><td class="mono">${visible(file.name)}</td><td class="end">${size(file.size)}</td><td>${shown(file.modified, "datetime")}</td><td class="mono faint" title=${file.hash}>${String(file.hash ?? "").slice(0, 12)}</td><td class="faint">${visible(file.location ?? "")}</td></tr>`)}</tbody></table></div>
    ${files.length < total && html`<p class="faint">The first ${files.length} of ${total.toLocaleString("en")}.</p>`}`;
}

const TEXT_LIMIT = 2_000_000;
/** Bytes of a longer text that are shown. */
const FIRST_PART = 500_000;

/** @typedef {{run: string, path: string, index?: number, entry?: string, member?: string}} Address */

/** The name that a file is shown by. @param {Address} address @param {any} file */
export function nameOf(address, file) {
  const last = address.member ?? address.entry ?? address.path.split("/").pop() ?? "";
  const extension = file?.extension ? `.${file.extension}` : "";
  return (address.member || address.entry || !extension || last.endsWith(extension) ? last : last + extension) + (address.index === undefined ? "" : ` [${address.index}]`);
}

/** Where a browser finds the content, with a ticket. @param {Address} address @param {any} [extra] */
export const contentUrl = (address, extra = {}) => source.url("/file", { ...address, ...extra });

/** @param {{address: Address, file: any, height?: string}} props */
export function FileView({ address, file, height }) {
  const kind = file?.shown_as ?? "binary";
  const key = JSON.stringify(address);
  const name = nameOf(address, file);
  return html`<section class="section" aria-label=${`File ${name}`}>
    <div class="bar"><span class="strong">${visible(name)}</span><span class="faint">${size(file?.size)}${file?.media && file.media !== "application/octet-stream" ? ` · ${file.media}` : ""}</span><span class="grow"></span>
      <${Download} address=${address} label=${`Download ${name}`} />
      ${file?.sha256 && html`<${Copy} text=${() => file.sha256} label="Copy SHA-256">SHA-256</${Copy}>`}</div>
    ${file?.description && html`<p>${visible(file.description)}</p>`}
    <${FileBody} key=${key} kind=${kind} address=${address} file=${file} name=${name} height=${height} />
  </section>`;
}

/** A link to the content: its ticket is fetched when it is used. @param {{address: Address, label?: string, route?: string}} props */
export const Download = ({ address, label = "Download", route = "/file" }) => source.isLive ? html`<${Button} kind="quiet" label=${label} onClick=${async () => {
  const link = document.createElement("a");
  link.href = await source.url(route, { ...address, ...(route === "/file" ? { download: true } : {}) });
  link.download = "";
  link.click();
}}>Download</${Button}>` : null;

/** @param {any} props */
function FileBody({ kind, address, file, name, height }) {
  if (kind === "image" || kind === "svg") return html`<${View} picture=${{ key: JSON.stringify(address), title: name, caption: file.description ?? "", url: () => contentUrl(address) }} height=${height ?? "min(60vh, 560px)"} />`;
  if (["audio", "video", "pdf", "html"].includes(kind)) return html`<${Framed} kind=${kind} address=${address} name=${name} />`;
  if (kind === "table" || kind === "notebook") return html`<${Preview} address=${address} name=${name} file=${file} />`;
  if (kind === "archive") return html`<${Archive} address=${address} />`;
  if (["text", "json", "markdown"].includes(kind)) {
    const isCut = file.size > TEXT_LIMIT;
    return html`${isCut && html`<p class="faint">The first ${size(FIRST_PART)} of ${size(file.size)}.</p>`}<${Text} kind=${isCut ? "text" : kind} address=${address} name=${name} isCut=${isCut} />`;
  }
  return html`<${Empty} title="No preview of this kind of file">Download it to see it.</${Empty}>`;
}

function Framed({ kind, address, name }) {
  const [url, setUrl] = useState("");
  const [error, setError] = useState(/** @type {any} */ (null));
  const again = () => contentUrl(address).then((to) => { setUrl(to); setError(null); }, setError);
  useEffect(() => {
    again();
  }, []);
  if (error) return html`<${Failure} error=${error} onRetry=${again} />`;
  if (!url) return html`<${Skeleton} />`;
  if (kind === "audio") return html`<audio class="media" controls src=${url} onError=${again} aria-label=${name}></audio>`;
  if (kind === "video") return html`<video class="media" controls src=${url} aria-label=${name}></video>`;
  if (kind === "pdf") return html`<iframe class="frame" src=${url} title=${name}></iframe>`;
  return html`<iframe class="frame" sandbox="allow-scripts" src=${url} title=${name}></iframe>
    <p class="faint">Shown in a sandbox without a network: a page that loads its scripts from elsewhere stays empty. Embed them when logging it.</p>`;
}

function Text({ kind, address, name, isCut = false }) {
  const loaded = useLoaded(async (signal) => {
    const answer = await source.send("/file", { ...address, as: "text" }, signal);
    return isCut ? beginning(answer.body) : answer.text();
  }, []);
  const [isSource, setSource] = useState(false);
  if (loaded.error || loaded.data === undefined) return waiting(loaded, 8);
  const text = loaded.data;
  const value = kind === "json" ? parsed(text) : undefined;
  if (kind === "text" || isSource || (kind === "json" && value === undefined)) {
    return html`${kind !== "text" && value !== undefined && html`<${Button} kind="quiet" onClick=${() => setSource(false)}>Show formatted</${Button}>`}<${Code} name=${name} text=${text} />`;
  }
  return html`<div class="bar"><${Button} kind="quiet" onClick=${() => setSource(true)}>Show source</${Button}></div>
    <div class="card card-body">${kind === "json" ? html`<${Json} value=${value} />` : html`<${Markdown} text=${text} />`}</div>`;
}

/** The first part of a text, up to its last whole line; the rest is not sent. @param {ReadableStream<Uint8Array>} body */
async function beginning(body) {
  const reader = body.getReader(), decoder = new TextDecoder();
  let text = "";
  for (let size = 0; size < FIRST_PART;) {
    const { done, value } = await reader.read();
    if (done) break;
    size += value.length;
    text += decoder.decode(value, { stream: true });
  }
  reader.cancel();
  return text.slice(0, text.lastIndexOf("\n") + 1) || text;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function Preview({ address, name, file }) {
  const loaded = useLoaded((signal) => source.get("/preview", { ...address, rows: 200 }, signal), []);
  if (loaded.error) return file.size < TEXT_LIMIT && !/parquet/.test(file.media ?? file.extension ?? "") ? html`<${Text} kind="text" address=${address} name=${name} />` : html`<${Failure} error=${loaded.error} onRetry=${loaded.again} />`;
  if (!loaded.data) return html`<${Skeleton} lines=${8} />`;
  const { form } = loaded.data;
  if (form === "notebook") return html`<div class="card card-body"><${Notebook} cells=${loaded.data.cells} /></div>`;
  return html`<div class="card card-body"><${Sheet} columns=${loaded.data.columns} rows=${loaded.data.rows} total=${loaded.data.total_rows} cut=${loaded.data.cut} /></div>`;
}

function Archive({ address }) {
  const loaded = useLoaded((signal) => source.get("/archive", address, signal), []);
  if (loaded.error || !loaded.data) return waiting(loaded);
  const { files, refused } = loaded.data;
  return html`<p class="faint">${counted(files.length, "file")} in this archive${refused.length ? `; ${counted(refused.length, "name")} lead out of it and cannot be read` : ""}.</p>
    <ul class="list">${files.slice(0, 1000).map((item) => html`<li key=${item.name} class="bar" style=${{ padding: "2px 10px" }}><span class="mono grow">${visible(item.name)}</span><span class="faint">${size(item.size)}</span>
      <${Download} address=${{ ...address, member: item.name }} label=${`Download ${item.name}`} /></li>`)}
      ${refused.map((item) => html`<li key=${item} class="bad-text mono" style=${{ padding: "2px 10px" }}>${visible(item)}</li>`)}</ul>`;
}

/** Files of a file set as a list with the chosen one beside it. @param {{run: string, path: string, entry: string, onEntry: (name: string) => void}} props */
export function FileSet({ run, path, entry, onEntry }) {
  const [search, setSearch] = useState("");
  const loaded = useLoaded((signal) => source.get("/files", { run, path, search, limit: 2000 }, signal), [run, path, search]);
  if (loaded.error || !loaded.data) return waiting(loaded);
  const { files, total } = loaded.data;
  const chosen = files.find((file) => file.name === entry) ?? (total === 1 ? files[0] : null);
  return html`<div class="section">
    <div class="bar"><input class="input" type="search" placeholder=${`Search ${counted(total, "file")}`} aria-label="Search files" value=${search} onInput=${(e) => setSearch(e.target.value)} /><span class="faint">${size(loaded.data.size)}</span>
      <span class="grow"></span><${Download} address=${{ run, path }} route="/zip" label="Download all as ZIP" /></div>
    <ul class="list" style=${{ maxHeight: chosen ? "30vh" : "70vh" }}>${files.map((file) => html`<li key=${file.name}><button type="button" class="row" aria-current=${String(file === chosen)} onClick=${() => onEntry(file.name)}>
      <span class="mono">${visible(file.name)}</span><span class="faint">${size(file.size)}</span></button></li>`)}</ul>
    ${files.length < total && html`<p class="faint">The first ${files.length} of ${total.toLocaleString("en")}; search to see others.</p>`}
    ${chosen && html`<${FileView} address=${{ run, path, entry: chosen.name }} file=${chosen} />`}</div>`;
}
