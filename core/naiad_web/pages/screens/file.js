/** One stored file in its own form: image, sound, film, PDF, page in a sandbox, text, JSON, Markdown, table, notebook, archive. */
import { html, useEffect, useState } from "../lib/html.js";
import { counted, size, visible } from "../lib/format.js";
import { source } from "../lib/source.js";
import { Button, Copy, Empty, Failure, Skeleton, useLoaded } from "../widgets/controls.js";
import { Code } from "../widgets/code.js";
import { View } from "../widgets/images.js";
import { Json, Markdown, Notebook, Sheet } from "../widgets/document.js";

const TEXT_LIMIT = 2_000_000;

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
    <div class="bar"><span class="strong">${visible(name)}</span><span class="faint">${size(file?.size)}${file?.media ? ` · ${file.media}` : ""}</span><span class="grow"></span>
      <${Download} address=${address} label=${`Download ${name}`} />
      ${file?.sha256 && html`<${Copy} text=${() => file.sha256} label="Copy SHA-256">SHA-256</${Copy}>`}</div>
    ${file?.description && html`<p>${visible(file.description)}</p>`}
    <${Body} key=${key} kind=${kind} address=${address} file=${file} name=${name} height=${height} />
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
function Body({ kind, address, file, name, height }) {
  if (kind === "image" || kind === "svg") return html`<${View} picture=${{ key: JSON.stringify(address), title: name, caption: file.description ?? "", url: () => contentUrl(address) }} height=${height ?? "min(60vh, 560px)"} />`;
  if (["audio", "video", "pdf", "html"].includes(kind)) return html`<${Framed} kind=${kind} address=${address} name=${name} />`;
  if (kind === "table" || kind === "notebook") return html`<${Preview} address=${address} name=${name} file=${file} />`;
  if (kind === "archive") return html`<${Archive} address=${address} />`;
  if (["text", "json", "markdown"].includes(kind)) {
    if (file.size > TEXT_LIMIT) return html`<${Empty} title="This text is too long to be shown here">${size(file.size)}; download it instead.</${Empty}>`;
    return html`<${Text} kind=${kind} address=${address} name=${name} />`;
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

function Text({ kind, address, name }) {
  const loaded = useLoaded(async (signal) => (await source.send("/file", { ...address, as: "text" }, signal)).text(), []);
  const [isSource, setSource] = useState(false);
  if (loaded.error) return html`<${Failure} error=${loaded.error} onRetry=${loaded.again} />`;
  if (loaded.data === undefined) return html`<${Skeleton} lines=${8} />`;
  const text = loaded.data;
  const value = kind === "json" ? parsed(text) : undefined;
  if (kind === "text" || isSource || (kind === "json" && value === undefined)) {
    return html`${kind !== "text" && value !== undefined && html`<${Button} kind="quiet" onClick=${() => setSource(false)}>Show formatted</${Button}>`}<${Code} name=${name} text=${text} />`;
  }
  return html`<div class="bar"><${Button} kind="quiet" onClick=${() => setSource(true)}>Show source</${Button}></div>
    <div class="card card-body">${kind === "json" ? html`<${Json} value=${value} />` : html`<${Markdown} text=${text} />`}</div>`;
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
  if (loaded.error) return html`<${Failure} error=${loaded.error} onRetry=${loaded.again} />`;
  if (!loaded.data) return html`<${Skeleton} />`;
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
  if (loaded.error) return html`<${Failure} error=${loaded.error} onRetry=${loaded.again} />`;
  if (!loaded.data) return html`<${Skeleton} />`;
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
